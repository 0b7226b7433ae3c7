"""Fits the polynomial coefficients of native/vmath.h: weighted minimax (Remez exchange on a dense grid, 40 digits).

Run as `python3 native/tools/fit_coefficients.py [name]`; needs mpmath. Prints, for each fit, the float32 coefficients
in ascending order and the largest weighted error before and after rounding them.
"""
import struct
import sys

from mpmath import mp, mpf

mp.dps = 40


def float32(x):
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def grid(low, high, points=1200):
    """Chebyshev spacing: error curves bend most near the ends."""
    return [low + (high - low) * (1 - mp.cos(mp.pi * i / (points - 1))) / 2 for i in range(points)]


def dot(coefficients, row):
    return sum(c * b for c, b in zip(coefficients, row))


def minimax(rows, target, weight):
    """Coefficients c that minimise max |weight·(rows·c − target)| over the grid."""
    n = len(rows[0])
    last = len(rows) - 1
    reference = [round(last * (1 - float(mp.cos(mp.pi * i / n))) / 2) for i in range(n + 1)]
    for _ in range(40):
        system = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for i, at in enumerate(reference):
            for j in range(n):
                system[i, j] = rows[at][j] * weight[at]
            system[i, n] = (-1) ** i
            right[i] = target[at] * weight[at]
        solution = mp.lu_solve(system, right)
        c = list(solution[:n])
        level = abs(solution[n])
        error = [weight[i] * (dot(c, rows[i]) - target[i]) for i in range(last + 1)]
        # One extremum in each run of equal signs.
        extrema = []
        for i, e in enumerate(error):
            if extrema and (error[extrema[-1]] > 0) == (e > 0):
                if abs(e) > abs(error[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        while len(extrema) > n + 1:
            # Of too many, the weaker end goes, or the weakest neighbouring pair: either keeps the signs alternating.
            size = [abs(error[i]) for i in extrema]
            if len(extrema) == n + 2:
                extrema.pop(0 if size[0] < size[-1] else -1)
            else:
                k = min(range(len(size) - 1), key=lambda i: max(size[i], size[i + 1]))
                del extrema[k:k + 2]
        worst = max(abs(e) for e in error)
        if len(extrema) < n + 1 or worst <= level * (1 + mpf(10) ** -6):
            break
        reference = extrema
    return c


def least_squares(rows, target, weight):
    n = len(rows[0])
    normal = mp.matrix(n, n)
    right = mp.matrix(n, 1)
    for row, t, w in zip(rows, target, weight):
        for i in range(n):
            right[i] += w * w * row[i] * t
            for j in range(n):
                normal[i, j] += w * w * row[i] * row[j]
    return list(mp.lu_solve(normal, right))


def rounded(exact, rows, weight):
    """float32 coefficients, lowest first; those still free take up what rounding took away. Least squares here: without
    its low powers the basis vanishes inside the interval, and the exchange no longer converges."""
    wanted = [dot(exact, r) for r in rows]
    fixed = []
    for k in range(len(exact)):
        rest = [w - dot(fixed, r[:k]) for w, r in zip(wanted, rows)]
        fixed.append(float32(least_squares([r[k:] for r in rows], rest, weight)[0]))
    return fixed


def report(name, coefficients, error, exact_error):
    print(f"{name}: error 2^{float(mp.log(error, 2)):.2f} (unrounded 2^{float(mp.log(exact_error, 2)):.2f})")
    for c in coefficients:
        print(f"  {float(c).hex():>24}  {mp.nstr(c, 10)}")


def fit(name, basis, target, weight, points):
    rows = [[b(x) for b in basis] for x in points]
    goal = [target(x) for x in points]
    weights = [abs(weight(x)) for x in points]

    def worst(c):
        return max(abs(w * (dot(c, r) - g)) for r, g, w in zip(rows, goal, weights))

    exact = minimax(rows, goal, weights)
    fixed = rounded(exact, rows, weights)
    report(name, fixed, worst(fixed), worst(exact))


def fit_rational(name, p_count, q_count, target, points):
    """P(x)/Q(x) with Q(0) = 1: P − target·Q is linear in the coefficients; the weight 1/(target·Q) is iterated."""
    goal = [target(x) for x in points]
    rows = [[x**k for k in range(p_count)] + [-g * x**k for k in range(1, q_count)] for x, g in zip(points, goal)]
    q = [mpf(1)] * len(points)
    for _ in range(6):
        weights = [1 / (g * v) for g, v in zip(goal, q)]
        exact = minimax(rows, goal, weights)
        q = [1 + sum(c * x**k for k, c in enumerate(exact[p_count:], 1)) for x in points]

    def relative(c):
        return max(abs(dot(c[:p_count], r) / (g * (1 + sum(v * x**k for k, v in enumerate(c[p_count:], 1)))) - 1)
                   for r, g, x in zip(rows, goal, points))

    fixed = rounded(exact, rows, weights)
    report(name, fixed, relative(fixed), relative(exact))


def powers(count, of=lambda x: x, times=lambda x: mpf(1)):
    return [lambda x, k=k: times(x) * of(x) ** k for k in range(count)]


def square(x):
    return x * x


def exp():
    """exp(r) = 1 + r + r²·q(r) on |r| ≤ ½ln2, error relative to expm1(r), which shares q."""
    half = mp.ln2 / 2 * mpf("1.001")
    fit("exp", powers(5), lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.expm1(r), grid(-half, half))


def log():
    """log(1+f) = f − f²/2 + f³·p(f) on [√½−1, √2−1], error relative to log(1+f)."""
    slack = mpf("1.0001")
    low, high = (mp.sqrt(mpf(1) / 2) - 1) * slack, (mp.sqrt(2) - 1) * slack
    fit("log", powers(8), lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3, lambda f: f**3 / mp.log1p(f),
        grid(low, high))


def tanh():
    """tanh(x) = x + x³·p(x²) on (0, 0.625], relative."""
    fit("tanh", powers(5, square), lambda x: (mp.tanh(x) - x) / x**3, lambda x: x**3 / mp.tanh(x),
        grid(mpf("1e-4"), mpf("0.625")))


def quarter_turns():
    """sin(πr/2) = r·(π/2 as a float + s(r²)) and cos(πr/2) = 1 + r²·c(r²) on |r| ≤ ½, relative."""
    half = mpf(1) / 2
    head = float32(mp.pi / 2)
    fit("sin", powers(4, square), lambda r: mp.sin(mp.pi * r / 2) / r - head, lambda r: r / mp.sin(mp.pi * r / 2),
        grid(mpf("1e-4"), half))
    fit("cos", powers(4, square), lambda r: (mp.cos(mp.pi * r / 2) - 1) / r**2,
        lambda r: r**2 / mp.cos(mp.pi * r / 2), grid(mpf("1e-4"), half))


def normal_tail():
    """Φ(−u)·exp(u²/2) = P(u)/Q(u), degrees 4 and 5, on [0, 14.5], where Φ(−u) leaves float32; relative."""
    fit_rational("normal tail", 5, 6, lambda u: mp.erfc(u / mp.sqrt(2)) / 2 * mp.exp(u * u / 2),
                 [x / (1 - x) for x in grid(mpf(0), mpf("14.5") / mpf("15.5"))])


FITS = {f.__name__: f for f in (exp, log, tanh, quarter_turns, normal_tail)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or FITS:
        FITS[chosen]()
