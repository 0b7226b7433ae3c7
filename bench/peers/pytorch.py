"""PyTorch as a peer of bench/training.ts; started and spoken to by bench/peers/peer.ts.

The fastest eager form that was found: torch.addmm on kernels [fan_in, units] (nn.Sequential of nn.Linear takes up to a tenth
longer), activations in place, gradients set to None, foreach for Adam.
"""
import ctypes
import json
import os
import sys
import time

import numpy
import torch
import torch.nn.functional as F

VARIABLES = ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


class Workload:
    def __init__(self, spec, path):
        self.batch, self.predicts = spec["batch"], spec["measures"] == "predict"
        self.check_steps, self.optimizer_spec = spec["checkSteps"], spec["optimizer"]
        units, regression = spec["units"], spec["loss"] == "meanSquaredError"
        floats = torch.from_numpy(numpy.fromfile(path, dtype=numpy.float32))
        taken = 0

        def take(*shape):
            nonlocal taken
            count = int(numpy.prod(shape))
            taken += count
            return floats[taken - count : taken].reshape(shape).clone()

        shapes = [shape for fan_in, out in zip(units, units[1:]) for shape in ((fan_in, out), (out,))]
        self.initial = [take(*shape) for shape in shapes]
        self.weights = [value.clone().requires_grad_(not self.predicts) for value in self.initial]
        self.activation = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}[spec["activation"]]
        self.loss = F.mse_loss if regression else F.cross_entropy
        rows = spec["rows"]
        self.x = take(rows, units[0]).split(self.batch)
        y = take(rows)
        self.y = (y.reshape(rows, 1) if regression else y.long()).split(self.batch)
        self.restart()

    def restart(self):
        with torch.no_grad():
            for weight, value in zip(self.weights, self.initial):
                weight.copy_(value)
        options = dict(self.optimizer_spec)
        name, rate = options.pop("name"), options.pop("learningRate")
        if name == "adam":
            self.optimizer = torch.optim.Adam(self.weights, lr=rate, foreach=True, **options)
        else:
            self.optimizer = torch.optim.SGD(self.weights, lr=rate, **options)
        self.at = 0

    def output(self, y):
        for i in range(0, len(self.weights), 2):
            y = torch.addmm(self.weights[i + 1], y, self.weights[i])
            if i + 2 < len(self.weights):
                y = self.activation(y)
        return y

    def step(self):
        i = self.at % len(self.x)
        self.at += 1
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.output(self.x[i]), self.y[i])
        loss.backward()
        self.optimizer.step()
        return loss

    def predict(self):
        with torch.inference_mode():
            return self.output(self.x[0])

    def check(self):
        if self.predicts:
            return self.predict().flatten().tolist()
        self.restart()
        return [self.step().item() for _ in range(self.check_steps)]

    def slice(self, seconds):
        """Seconds a step, over so many seconds; untimed steps come first, as many as in warmUp of slices.ts."""
        self.restart()
        run = self.predict if self.predicts else self.step
        repeat(run, min(0.01, seconds / 3))
        return repeat(run, seconds)


def repeat(run, seconds):
    """Calls for so many seconds or a little longer, and at least one; the mean of a call."""
    calls, start = 0, time.perf_counter()
    while True:
        run()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return elapsed / calls


def examples(spec):
    """x and y of random examples."""
    rows, units = spec["rows"], spec["units"]
    y = torch.rand(rows, 1) if spec["loss"] == "meanSquaredError" else torch.arange(rows) % units[-1]
    return torch.rand(rows, units[0]), y


def train(spec, x, y):
    """A model as users write it, and one pass over the examples."""
    units = spec["units"]
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[spec["activation"]]
    layers = [layer for fan_in, out in zip(units, units[1:]) for layer in (torch.nn.Linear(fan_in, out), activation())]
    model = torch.nn.Sequential(*layers[:-1])
    loss_of = F.mse_loss if spec["loss"] == "meanSquaredError" else F.cross_entropy
    options = {name: value for name, value in spec["optimizer"].items() if name not in ("name", "learningRate")}
    optimizer = torch.optim.Adam if spec["optimizer"]["name"] == "adam" else torch.optim.SGD
    optimizer = optimizer(model.parameters(), lr=spec["optimizer"]["learningRate"], **options)
    for rows, targets in zip(x.split(spec["batch"]), y.split(spec["batch"])):
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(rows), targets).backward()
        optimizer.step()


def blas():
    """Files of the BLAS that was loaded: Debian's torch calls the one that is installed, and the plain one is many times slower."""
    if not os.path.exists("/proc/self/maps"):
        return []
    with open("/proc/self/maps") as maps:
        return sorted({line.split()[-1] for line in maps if "blas" in line})


def threads_of(files):
    """A BLAS with threads of its own, which torch.set_num_threads does not reach: its function that sets their number, or None."""
    for file in files:
        if "libopenblas" in file and "openmp" not in file:
            return ctypes.CDLL(file).openblas_set_num_threads
    return None


def describe(files, set_blas_threads):
    if not files:
        return "its own BLAS"
    names = [os.path.basename(file) for file in files if "openblas" in file]
    if not names:
        return f"{os.path.basename(files[0])}: NOT its best, install libopenblas0-openmp"
    return "OpenBLAS with threads of its own: NOT its best, install libopenblas0-openmp" if set_blas_threads else "OpenBLAS with OpenMP"


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    settings = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    files = blas()
    set_blas_threads = threads_of(files)
    settings += ["addmm", "foreach for Adam", describe(files, set_blas_threads)]
    print(json.dumps({"name": f"PyTorch {torch.__version__}", "settings": settings, "threads": 1024}), file=answers)
    workload = data = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = True
        if "threads" in request:
            torch.set_num_threads(request["threads"])
            if set_blas_threads:
                set_blas_threads(request["threads"])
        if request["do"] == "prepare":
            workload = Workload(request["workload"], request["file"])
        elif request["do"] == "examples":
            workload = request["workload"]
            data = examples(workload)
        elif request["do"] == "train":
            train(workload, *data)
        else:
            answer = workload.check() if request["do"] == "check" else workload.slice(request["seconds"])
        print(json.dumps(answer), file=answers)


main()
