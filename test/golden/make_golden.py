"""Writes golden.json: five training steps of small networks, computed by PyTorch 1.13 in float64.

    python3 make_golden.py            (needs only torch; under a minute; writes golden.json beside this file)

test/50-golden.test.ts feeds the same inputs and weights to gradmill and compares. Names and options are gradmill's;
an option that a case leaves out is left to PyTorch's default, so the defaults are compared too. Inputs and initial
weights are drawn by the integer generator below, exact in float32. A draw is taken only if the float32 answer is well
determined: no value may sit at a kink of its activation or loss, no gradient that an optimizer divides by its own size
may be at rounding level, and no tensor may end where it began because its steps cancelled. Each side of every kink must occur. The script also runs each case in PyTorch's own
float32 and prints the largest deviations: they are what the tolerances of the test rest on.
"""

import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

STEPS = 5
KINK_CLEARANCE = 1e-4  # least distance of a value from a kink, unless it is exactly on it
GRADIENT_FLOOR = 2e-4  # least |g| / max|g| under an optimizer that divides by |g|
NET_FLOOR = 0.2        # least net change of a tensor / what its steps add up to
CLIP = 1e-7            # categoricalCrossEntropy clips its probabilities here


# ---- what gradmill's names mean in PyTorch ----

ACTIVATIONS = {
    "linear": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leakyRelu": lambda z, negativeSlope=0.01: F.leaky_relu(z, negativeSlope),
    "elu": lambda z, alpha=1.0: F.elu(z, alpha),
    "selu": F.selu,
    "gelu": F.gelu,
    "geluTanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hardSigmoid": F.hardsigmoid,
    "hardSwish": F.hardswish,
    "softmax": lambda z: F.softmax(z, dim=1),
}

KINKS = {"relu": [0], "leakyRelu": [0], "elu": [0], "selu": [0], "hardSigmoid": [-3, 3], "hardSwish": [-3, 3]}


def categorical_cross_entropy(p, target, reduction):
    log_p = p.clamp(CLIP, 1 - CLIP).log()
    if target.dtype == torch.int64:
        return F.nll_loss(log_p, target, reduction=reduction)
    total = -(target * log_p).sum()
    return total / len(p) if reduction == "mean" else total


LOSSES = {
    "meanSquaredError": F.mse_loss,
    "meanAbsoluteError": F.l1_loss,
    "huber": F.huber_loss,
    "binaryCrossEntropy": F.binary_cross_entropy_with_logits,
    "softmaxCrossEntropy": lambda z, t, reduction, labelSmoothing=0.0: F.cross_entropy(
        z, t, reduction=reduction, label_smoothing=labelSmoothing
    ),
    "categoricalCrossEntropy": categorical_cross_entropy,
}

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamW": torch.optim.AdamW,
}
DIVIDES_BY_GRADIENT = {"rmsprop", "adagrad", "adam", "adamW"}

OPTION_NAMES = {
    "learningRate": "lr",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "weightDecay": "weight_decay",
    "rho": "alpha",
    "epsilon": "eps",
}


def make_optimizer(parameters, name, options):
    keywords = {OPTION_NAMES[key]: value for key, value in options.items() if key in OPTION_NAMES}
    if "beta1" in options or "beta2" in options:
        keywords["betas"] = (options.get("beta1", 0.9), options.get("beta2", 0.999))
    known = {*OPTION_NAMES, "beta1", "beta2", "clipValue", "clipGlobalNorm"}
    assert options.keys() <= known, options
    return OPTIMIZERS[name](parameters, **keywords)


# ---- the networks ----

def dense(units, activation=None, **options):
    layer = {"type": "dense", "units": units, **options}
    if activation is not None:
        layer["activation"] = activation
    return layer


def separate(name, **options):
    """An activation as a layer of its own."""
    return {"type": "activation", "activation": {"name": name, **options}}


def normalization(kind, **options):
    return {"type": kind, **options}


def act(name, **options):
    return {"name": name, **options}


def case(name, inputs, layers, loss, optimizer, options, rows=11, batch=4, **drawing):
    """`drawing`: gain (of the weights), spread (of the inputs), target (how labels are drawn), inputType, labelType, zeroRow; gradientsOfWeightsOnly
    leaves those of input and layers out of the file."""
    loss = {"name": loss} if isinstance(loss, str) else loss
    counts = {}
    for layer in layers:
        if layer["type"] != "activation":
            initial = "d" if layer["type"] == "dense" else "n"
            counts[initial] = counts.get(initial, 0) + 1
            layer["name"] = f"{initial}{counts[initial]}"
    return dict(name=name, inputs=inputs, layers=layers, loss=loss, optimizer={"name": optimizer, "options": options},
                rows=rows, batch=batch, drawing=drawing)


def loss_of(name, **options):
    return {"name": name, **options}


MSE, MAE, HUBER, BCE = "meanSquaredError", "meanAbsoluteError", "huber", "binaryCrossEntropy"
SOFTMAX_CE, CCE = "softmaxCrossEntropy", "categoricalCrossEntropy"
SMALL = 2**-9  # inputs, and with them kernel gradients, so small that epsilons show

CASES = [
    # each optimizer with its options; rows 11 in batches of 4 (4, 4, 3, 4, 4), rows 19 in batches of 4 are one epoch
    case("linear regression, one unit", 3, [dense(1, "linear")], MSE, "sgd", {"learningRate": 0.1}),
    case("sigmoid, momentum", 7, [dense(13, "sigmoid"), dense(3)], MSE, "sgd",
         {"learningRate": 0.1, "momentum": 0.9}, rows=19, spread=4),
    case("tanh, nesterov", 7, [dense(17, "tanh"), dense(13, "tanh"), dense(1)], MAE, "sgd",
         {"learningRate": 0.05, "momentum": 0.9, "nesterov": True}),
    case("relu, weight decay", 13, [dense(33, "relu"), dense(7)], HUBER, "sgd",
         {"learningRate": 0.1, "weightDecay": 0.1}, rows=19, target="wide"),
    case("leakyRelu, momentum with weight decay", 7, [dense(17, "leakyRelu"), dense(3)], loss_of(HUBER, delta=0.7),
         "sgd", {"learningRate": 0.05, "momentum": 0.8, "nesterov": True, "weightDecay": 0.01}, target="wide"),
    case("leakyRelu(0.2), rmsprop defaults", 3, [dense(7, act("leakyRelu", negativeSlope=0.2)), dense(3)], SOFTMAX_CE,
         "rmsprop", {}, spread=SMALL),
    case("tanh, rmsprop with options", 3, [dense(7, "tanh"), dense(1)], MSE, "rmsprop",
         {"learningRate": 0.02, "rho": 0.9, "epsilon": 1e-3}, rows=19),
    case("elu, adagrad defaults", 3, [dense(7, "elu"), dense(3)], SOFTMAX_CE, "adagrad", {}, spread=SMALL),
    case("silu, adagrad with options", 7, [dense(7, "silu"), dense(3)], loss_of(MSE, reduction="sum"), "adagrad",
         {"learningRate": 0.1, "epsilon": 1e-3}),
    case("elu(0.5), adam defaults", 7, [dense(7, act("elu", alpha=0.5)), dense(1)], BCE, "adam", {}, rows=19, spread=SMALL),
    case("selu, adam with weight decay", 3, [dense(13, "selu"), dense(3)], SOFTMAX_CE, "adam",
         {"learningRate": 0.02, "weightDecay": 0.05}, target="oneHot"),
    case("gelu, adam with options", 3, [dense(7, "gelu"), dense(3)], loss_of(SOFTMAX_CE, labelSmoothing=0.1), "adam",
         {"learningRate": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}),
    case("geluTanh, adamW defaults", 7, [dense(7, "geluTanh"), dense(3)], loss_of(SOFTMAX_CE, labelSmoothing=0.1),
         "adamW", {}, target="oneHot", spread=SMALL),
    case("mish, adamW with weight decay", 3, [dense(7, "mish"), dense(3)], loss_of(BCE, reduction="sum"), "adamW",
         {"learningRate": 0.02, "weightDecay": 0.2}),
    case("tanh, clipValue", 7, [dense(17, "tanh"), dense(7)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.2, "clipValue": 0.05}, rows=19),
    case("tanh, clipValue before weight decay", 7, [dense(13, "tanh"), dense(3)], MSE, "sgd",
         {"learningRate": 0.2, "momentum": 0.9, "weightDecay": 0.1, "clipValue": 0.05}),
    case("relu, clipGlobalNorm", 7, [dense(17, "relu"), dense(7)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.5, "clipGlobalNorm": 1.0}, rows=19),
    case("sigmoid, clipGlobalNorm before weight decay", 3, [dense(7, "sigmoid"), dense(3)], MSE, "adam",
         {"learningRate": 0.02, "weightDecay": 0.05, "clipGlobalNorm": 0.5}),
    case("clipGlobalNorm of small gradients", 7, [dense(13, "tanh", useBias=False), dense(3, useBias=False)], MSE, "sgd",
         {"learningRate": 30.0, "clipGlobalNorm": 1e-3}, spread=SMALL),
    # the other activations, with inputs wide enough to reach their bends
    case("leakyRelu(0.2) as a layer", 7, [dense(13), separate("leakyRelu", negativeSlope=0.2), dense(3)],
         loss_of(MAE, reduction="sum"), "sgd", {"learningRate": 0.01}),
    case("gelu on wide inputs", 7, [dense(33, "gelu"), dense(3)], MSE, "sgd", {"learningRate": 0.01}, spread=8),
    case("geluTanh on wide inputs", 7, [dense(33, "geluTanh"), dense(3)], MSE, "sgd", {"learningRate": 0.02}, spread=8),
    case("silu on wide inputs", 7, [dense(17, "silu"), dense(3)], MSE, "sgd", {"learningRate": 0.02}, spread=8),
    case("mish on wide inputs", 7, [dense(17, "mish"), dense(3)], MSE, "sgd", {"learningRate": 0.02}, spread=8),
    case("softplus on wide inputs", 7, [dense(17, "softplus"), dense(3)], MSE, "sgd", {"learningRate": 0.001}, spread=16),
    case("softsign as a layer", 7, [dense(17), separate("softsign"), dense(3)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.2}, spread=4),
    case("hardSigmoid", 7, [dense(17, "hardSigmoid"), dense(3)], HUBER, "sgd", {"learningRate": 0.1}, spread=8,
         target="wide"),
    case("hardSwish", 7, [dense(17, "hardSwish"), dense(3)], loss_of(HUBER, delta=0.7, reduction="sum"), "sgd",
         {"learningRate": 0.005}, spread=8, target="wide"),
    case("selu, elu(0.5) and softplus, four layers", 13,
         [dense(17, "selu"), dense(13, act("elu", alpha=0.5)), dense(7, "softplus"), dense(3)],
         loss_of(SOFTMAX_CE, reduction="sum"), "sgd", {"learningRate": 0.02, "momentum": 0.9}, rows=19),
    case("tanh, mish, gelu, four layers, adam", 7,
         [dense(13, "tanh"), dense(7, "mish"), dense(7, "gelu"), dense(1, "tanh")], MSE, "adam", {"learningRate": 0.01}),
    # losses on probabilities, and the conventions at a kink
    case("softmax, categorical cross-entropy", 7, [dense(13, "tanh"), dense(7, "softmax")], CCE, "sgd",
         {"learningRate": 0.2}, rows=19),
    case("softmax as a layer, one-hot, sum", 7, [dense(13, "relu"), dense(3), separate("softmax")],
         loss_of(CCE, reduction="sum"), "adam", {"learningRate": 0.01}, target="oneHot"),
    case("softmax, clipped probabilities", 7, [dense(5, "softmax")], CCE, "sgd", {"learningRate": 0.1}, gain=4,
         spread=4, rows=19),
    case("softmax, squared error", 7, [dense(7, "softmax")], MSE, "sgd", {"learningRate": 1.0}, target="oneHot"),
    # A row of zeros without biases meets the kink at 0 exactly; its first label is 0 too, so its error is exactly 0 there.
    case("no bias, zero row, relu at 0", 7, [dense(17, "relu", useBias=False), dense(3, useBias=False)], MAE, "sgd",
         {"learningRate": 0.1, "weightDecay": 0.01}, zeroRow=True),
    case("no bias, zero row, leakyRelu at 0", 7, [dense(13, "leakyRelu", useBias=False), dense(3, useBias=False)], MAE,
         "sgd", {"learningRate": 0.1}, zeroRow=True),
    case("no bias, zero row, elu(0.5) at 0", 7, [dense(13, act("elu", alpha=0.5), useBias=False), dense(3, useBias=False)],
         MSE, "sgd", {"learningRate": 0.1}, zeroRow=True),
    case("large logits, softmax cross-entropy", 7, [dense(7)], SOFTMAX_CE, "sgd", {"learningRate": 0.1}, gain=4, spread=32,
         rows=19),
    case("large logits, binary cross-entropy", 7, [dense(3)], BCE, "sgd", {"learningRate": 0.1}, gain=4, spread=32, rows=19),
    case("sigmoid output, soft labels on logits", 3, [dense(7, "sigmoid"), dense(3)], BCE, "sgd",
         {"learningRate": 0.5, "momentum": 0.5}, target="soft"),
    # batches, types and widths
    case("batch of one row", 7, [dense(13, "tanh"), dense(3)], SOFTMAX_CE, "sgd", {"learningRate": 0.1}, rows=5, batch=1),
    case("one unit all the way", 1, [dense(1, "tanh"), dense(1, "sigmoid"), dense(1)], MSE, "adam",
         {"learningRate": 0.05}, rows=7, batch=3),
    case("batch of 33, bytes in, one-hot bytes", 17, [dense(33, "relu"), dense(17, "relu"), dense(10)], SOFTMAX_CE,
         "sgd", {"learningRate": 0.05, "momentum": 0.9}, rows=49, batch=33, inputType="uint8", spread=16, target="oneHot",
         labelType="uint8"),
    case("byte labels", 13, [dense(33, "tanh"), dense(13)], SOFTMAX_CE, "sgd", {"learningRate": 0.2}, rows=33, batch=7,
         labelType="uint8"),
    # Wide enough that an engine divides its products between threads. It keeps the file small by leaving out what a batch holds.
    case("wide enough for two threads", 64, [dense(40, "tanh"), dense(33, "gelu"), dense(3)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.02, "momentum": 0.9}, rows=96, batch=96, inputType="uint8", spread=16, gradientsOfWeightsOnly=True),
    # normalisation; the output is that of inference
    case("batch normalisation, relu", 7,
         [dense(13, useBias=False), normalization("batchNormalization"), separate("relu"), dense(3)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.1, "momentum": 0.9}, rows=19),
    case("batch normalisation with options, first and between", 7,
         [normalization("batchNormalization", momentum=0.7, epsilon=0.01, scale=False), dense(13, "tanh"),
          normalization("batchNormalization", center=False), dense(3)], MSE, "adam", {"learningRate": 0.01}),
    case("layer normalisation", 7,
         [dense(13, "tanh"), normalization("layerNormalization"), dense(7),
          normalization("layerNormalization", epsilon=0.1, scale=False), dense(3)], SOFTMAX_CE, "sgd",
         {"learningRate": 0.1, "momentum": 0.9}, rows=19),
    case("root-mean-square normalisation", 7,
         [normalization("rmsNormalization", scale=False), dense(13, "gelu"), normalization("rmsNormalization", epsilon=0.01), dense(3)],
         MSE, "adamW", {"learningRate": 0.01}),
]

FIXED = ("movingMean", "movingVariance")


def is_fixed(name):
    return name.split("/")[1] in FIXED


# ---- drawing inputs, labels and weights ----

class Integers:
    """A linear congruential generator of 32 bits; its high bits are used."""

    def __init__(self, seed):
        self.state = seed * 2654435761 % 2**32

    def below(self, n):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return (self.state >> 8) % n

    def uniform(self, limit):
        """Uniform in ±limit on a grid; exact in float32 for limits that are multiples of 1/16."""
        return (self.below(2047) - 1023) / 1024 * limit

    def fill(self, shape, limit):
        return torch.tensor([self.uniform(limit) for _ in range(math.prod(shape))]).reshape(shape)


def draw(spec, seed):
    source = Integers(seed)
    drawing, rows = spec["drawing"], spec["rows"]
    spread = drawing.get("spread", 2)
    if drawing.get("inputType") == "uint8":
        x = torch.tensor([[float(source.below(spread)) for _ in range(spec["inputs"])] for _ in range(rows)])
    else:
        x = source.fill([rows, spec["inputs"]], spread)
    if drawing.get("zeroRow"):
        x[1] = 0

    parameters, fan_in = [], spec["inputs"]
    for layer in spec["layers"]:
        if layer["type"].endswith("Normalization"):
            kind, prefix = layer["type"], layer["name"] + "/"
            if layer.get("scale", True):
                parameters.append((prefix + "gamma", 1 + source.fill([fan_in], 0.5)))
            if layer.get("center", kind != "rmsNormalization"):
                parameters.append((prefix + "beta", source.fill([fan_in], 0.25)))
            if kind == "batchNormalization":
                parameters.append((prefix + "movingMean", source.fill([fan_in], 0.25)))
                parameters.append((prefix + "movingVariance", 1 + source.fill([fan_in], 0.5)))
        if layer["type"] != "dense":
            continue
        units = layer["units"]
        limit = math.ceil(16 * drawing.get("gain", 1) * math.sqrt(6 / (fan_in + units))) / 16
        if drawing.get("inputType") == "uint8" and not parameters:
            limit /= spread / 4
        parameters.append((layer["name"] + "/kernel", source.fill([fan_in, units], limit)))
        if layer.get("useBias", True):
            parameters.append((layer["name"] + "/bias", source.fill([units], 0.25)))
        fan_in = units

    loss, target = spec["loss"]["name"], drawing.get("target")
    if loss in (SOFTMAX_CE, CCE) or target == "oneHot":
        y = torch.tensor([source.below(fan_in) for _ in range(rows)])
        if target == "oneHot":
            y = F.one_hot(y, fan_in).double()
    elif loss == BCE:
        levels = 4 if target == "soft" else 1
        y = torch.tensor([[source.below(levels + 1) / levels for _ in range(fan_in)] for _ in range(rows)])
    else:
        y = source.fill([rows, fan_in], 3 if target == "wide" else 1)
    if drawing.get("zeroRow"):
        y[1, 0] = 0
    return x, y, parameters


# ---- five steps ----

def normalize(layer, named, y, training):
    weight = lambda part: named.get(f"{layer['name']}/{part}")
    options = {"eps": layer["epsilon"]} if "epsilon" in layer else {}
    if layer["type"] == "batchNormalization":
        if "momentum" in layer:
            options["momentum"] = 1 - layer["momentum"]
        return F.batch_norm(y, weight("movingMean"), weight("movingVariance"), weight("gamma"), weight("beta"), training, **options)
    if layer["type"] == "layerNormalization":
        return F.layer_norm(y, y.shape[1:], weight("gamma"), weight("beta"), **options)
    y = y / (y.square().mean(1, keepdim=True) + options.get("eps", 1e-6)).sqrt()
    return y if weight("gamma") is None else y * weight("gamma")


def forward(spec, parameters, x, watch=None, training=True):
    """Outputs of every layer. `watch(what, values, kinks)` sees each value that meets a kink."""
    named, outputs, y = dict(parameters), [], x
    for layer in spec["layers"]:
        if layer["type"].endswith("Normalization"):
            y = normalize(layer, named, y, training)
        if layer["type"] == "dense":
            y = y @ named[layer["name"] + "/kernel"]
            if layer.get("useBias", True):
                y = y + named[layer["name"] + "/bias"]
        activation = layer.get("activation", "linear")
        activation = activation if isinstance(activation, dict) else {"name": activation}
        options = {key: value for key, value in activation.items() if key != "name"}
        if watch and activation["name"] in KINKS:
            watch(activation["name"], y.detach(), KINKS[activation["name"]])
        y = ACTIVATIONS[activation["name"]](y, **options)
        outputs.append(y)
    return outputs


def loss_value(spec, output, target, watch=None):
    loss = spec["loss"]
    options = {key: value for key, value in loss.items() if key not in ("name", "reduction")}
    if watch:
        difference = (output - target).detach() if output.shape == target.shape else None
        if loss["name"] == MAE:
            watch("error", difference, [0])
        if loss["name"] == HUBER:
            delta = loss.get("delta", 1.0)
            watch("error", difference, [-delta, delta])
        if loss["name"] == CCE:
            watch("probability", output.detach(), [CLIP, 1 - CLIP])
    target = target if target.dtype == torch.int64 else target.to(output.dtype)
    return LOSSES[loss["name"]](output, target, reduction=loss.get("reduction", "mean"), **options)


def batches_of(spec):
    """[from, to) of five consecutive batches, beginning again after the last row."""
    ranges = [[start, min(start + spec["batch"], spec["rows"])] for start in range(0, spec["rows"], spec["batch"])]
    return [ranges[step % len(ranges)] for step in range(STEPS)]


def run(spec, x, y, initial, dtype, watch=None):
    x = x.to(dtype)
    parameters = [(name, value.to(dtype).clone().requires_grad_(not is_fixed(name))) for name, value in initial]
    values = [value for name, value in parameters if not is_fixed(name)]
    options = spec["optimizer"]["options"]
    optimizer = make_optimizer(values, spec["optimizer"]["name"], options)
    result = {"losses": [], "norms": [], "smallest": math.inf, "clipped": 0.0}
    travelled = [0.0] * len(values)
    for step, (start, stop) in enumerate(batches_of(spec)):
        inputs = x[start:stop].clone().requires_grad_()
        outputs = forward(spec, parameters, inputs, watch)
        for output in outputs:
            output.retain_grad()
        loss = loss_value(spec, outputs[-1], y[start:stop], watch)
        optimizer.zero_grad()
        loss.backward()
        result["losses"].append(loss.item())
        if step == 0:
            result["input"] = inputs.grad.clone()
            result["lossGradients"] = [output.grad.clone() for output in outputs]
            result["gradients"] = [(name, value.grad.clone()) for name, value in parameters if not is_fixed(name)]
        for value in values:
            sizes = value.grad.abs()
            if sizes.max() > 0:
                result["smallest"] = min(result["smallest"], (sizes[sizes > 0].min() / sizes.max()).item())
        result["norms"].append(math.sqrt(sum((value.grad**2).sum().item() for value in values)))
        if "clipValue" in options:
            over = sum((value.grad.abs() > options["clipValue"]).sum().item() for value in values)
            result["clipped"] = over / sum(value.numel() for value in values)
            torch.nn.utils.clip_grad_value_(values, options["clipValue"])
        if "clipGlobalNorm" in options:
            torch.nn.utils.clip_grad_norm_(values, options["clipGlobalNorm"])
        before = [value.detach().clone() for value in values]
        optimizer.step()
        for i, value in enumerate(values):
            travelled[i] += (value.detach() - before[i]).abs().max().item()
    net = [(value.detach() - start).abs().max().item() for value, start in zip(values, (start for name, start in initial if not is_fixed(name)))]
    result["net"] = min(change / way for change, way in zip(net, travelled))
    result["after"] = [(name, value.detach().clone()) for name, value in parameters]
    result["output"] = forward(spec, result["after"], x, training=False)[-1]
    return result


def attempt(spec, seed):
    """The case drawn from one seed, or why this draw will not do."""
    x, y, initial = draw(spec, seed)
    sides, problems = {}, []

    def watch(what, values, kinks):
        for kink in kinks:
            distance = values - kink
            # Probabilities are compared with the clip bounds relatively; a value exactly on a kink is its own case.
            near = distance.abs() / (abs(kink) if what == "probability" else 1)
            if ((near < KINK_CLEARANCE) & (distance != 0)).any():
                problems.append(f"{what} near {kink}")
            if what != "probability" or kink == CLIP:
                seen = sides.setdefault((what, kink), set())
                seen.update(torch.sign(distance).flatten().tolist())

    exact = run(spec, x, y, initial, torch.float64, watch)
    options = spec["optimizer"]["options"]
    for (what, kink), seen in sides.items():
        if what == "probability" and "clipped" not in spec["name"]:
            continue
        if not {-1.0, 1.0} <= seen:
            problems.append(f"{what} never on both sides of {kink}")
    if spec["optimizer"]["name"] in DIVIDES_BY_GRADIENT and exact["smallest"] < GRADIENT_FLOOR:
        problems.append("gradient at rounding level")
    if exact["net"] < NET_FLOOR:
        problems.append("steps cancel")
    if "clipValue" in options and not 0.1 < exact["clipped"] < 0.9:
        problems.append("clipValue does not divide the gradients")
    if "clipGlobalNorm" in options and not min(exact["norms"]) < options["clipGlobalNorm"] < max(exact["norms"]):
        problems.append("clipGlobalNorm is not both reached and kept")
    if not max(exact["losses"]) < 1000:
        problems.append("diverges")
    if "clipped" in spec["name"]:
        # The label's own probability must be clipped: the others do not reach the loss.
        start, stop = batches_of(spec)[0]
        p = forward(spec, initial, x)[-1][range(start, stop), y[start:stop]]
        if not (p.min() < CLIP < p.max()):
            problems.append("no clipped label in the first batch")
    return x, y, initial, exact, problems


def deviation(actual, reference):
    """Largest difference over the largest reference value."""
    scale = reference.abs().max().item()
    return (actual.double() - reference).abs().max().item() / scale if scale > 0 else 0.0


def deviations(spec, x, y, initial, exact):
    """How far PyTorch's own float32 run is from the float64 run, quantity by quantity."""
    single = run(spec, x, y, initial, torch.float32)
    worst = {
        "loss": max(abs(a - b) / abs(b) for a, b in zip(single["losses"], exact["losses"])),
        "gradient": max(deviation(a, b) for (_, a), (_, b) in zip(single["gradients"], exact["gradients"])),
        "input gradient": deviation(single["input"], exact["input"]),
        "loss gradient": max(deviation(a, b) for a, b in zip(single["lossGradients"], exact["lossGradients"])),
        "output": deviation(single["output"], exact["output"]),
    }
    worst["weight"] = max(deviation(a, b) for (_, a), (_, b) in zip(single["after"], exact["after"]))
    # The change of a weight is known to half a unit in the last place of the weight for each of the five steps.
    worst["change"] = 0.0
    for (_, a), (_, b), (_, start) in zip(single["after"], exact["after"], initial):
        rounding = STEPS * 2**-24 * torch.maximum(b.abs(), start.abs())
        excess = ((a.double() - b).abs() - rounding).clamp(min=0).max().item()
        worst["change"] = max(worst["change"], excess / (b - start).abs().max().item())
    return worst


# ---- writing ----

def number(value, exact):
    """Inputs and initial weights round-trip; references keep 12 digits, far beyond float32 and free of the last bits' noise."""
    value = float(value) if exact else float(f"{value:.12g}")
    return int(value) if value == int(value) and abs(value) < 2**31 else value


def stored(value, exact=False, **extra):
    return {"shape": list(value.shape), **extra, "data": [number(v, exact) for v in value.detach().flatten().tolist()]}


def entry(spec, x, y, initial, exact):
    for values in [x, *(value for _, value in initial)]:
        assert torch.equal(values.float().double(), values), "not exact in float32"
    drawing = spec["drawing"]
    label_type = drawing.get("labelType", "int32" if y.dtype == torch.int64 else "float32")
    named = lambda pairs, exactly=False: [{"name": name, **stored(value, exactly)} for name, value in pairs]
    return {
        "name": spec["name"],
        "inputShape": [spec["inputs"]],
        "layers": spec["layers"],
        "loss": spec["loss"],
        "optimizer": spec["optimizer"],
        "batchSize": spec["batch"],
        "batches": batches_of(spec),
        "x": stored(x, True, type=drawing.get("inputType", "float32")),
        "y": stored(y, True, type=label_type),
        "weights": named(initial, True),
        "losses": [number(loss, False) for loss in exact["losses"]],
        "gradients": named(exact["gradients"]),
        **({} if drawing.get("gradientsOfWeightsOnly") else {
            "inputGradient": stored(exact["input"]),
            "lossGradients": [stored(value) for value in exact["lossGradients"]],
        }),
        "weightsAfter": named(exact["after"]),
        "output": stored(exact["output"]),
    }


def main():
    entries, overall = [], {}
    for index, spec in enumerate(CASES):
        for seed in range(1000 * (index + 1), 1000 * (index + 1) + 999):
            x, y, initial, exact, problems = attempt(spec, seed)
            if not problems:
                break
        else:
            sys.exit(f"{spec['name']}: no draw will do; the last one: {sorted(set(problems))}")
        worst = deviations(spec, x, y, initial, exact)
        for key, value in worst.items():
            overall[key] = max(overall.get(key, 0.0), value)
        print(f"{spec['name']:52} seed {seed:6}  " + "  ".join(f"{k} {v:.1e}" for k, v in worst.items()))
        entries.append(entry(spec, x, y, initial, exact))
    print(f"{'largest deviation of PyTorch in float32':64}  " + "  ".join(f"{k} {v:.1e}" for k, v in overall.items()))

    compact = lambda value: json.dumps(value, separators=(",", ":"), allow_nan=False)
    body = ",\n".join(
        "{\n" + ",\n".join(f"  {json.dumps(key)}: {compact(value)}" for key, value in item.items()) + "\n}" for item in entries
    )
    text = f'{{"source": "PyTorch {torch.__version__}, float64, by make_golden.py", "cases": [\n{body}\n]}}\n'
    path = pathlib.Path(__file__).with_name("golden.json")
    path.write_text(text)
    print(f"{path.name}: {len(entries)} cases, {len(text) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
