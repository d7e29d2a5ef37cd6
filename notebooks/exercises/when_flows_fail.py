"""The checks of notebook 07's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

import re
from collections.abc import Callable

import numpy as np

from nflib_min.planar import m
from notebooks.exercises.judge import judge

WORDS = ("sign", "pad", "z_0", "fold", "fixed point", "no prior")
RIGHT = ("pad", "fixed point", "z_0", "sign")
HINTS = (
    "report 1: which mistake is too small for every law but the strictest?",
    "report 2: with c > -1 the map is one-to-one, so who failed to come home?",
    "report 3: the map is fine and Z is finite, so where does the joint density look?",
    "report 4: the log-det itself is right; what is done with it afterwards?",
)


def diagnoses(answer: object) -> None:
    """Exercise 1: the mistake behind each of four reports."""
    if answer is None:
        print("not attempted")
        return
    # a string or a list, with any quotes, and "fixed-point" or "z0" as people write them
    said = answer.split(",") if isinstance(answer, str) else list(np.ravel(answer))
    trimmed = [re.sub(r"^\s*[1-4]\s*[:.)]", "", str(word)) for word in said]
    plain = [re.sub(r"""[\s_.;'"()\[\]-]""", "", word.lower()) for word in trimmed]
    known = {re.sub(r"[ _]", "", word): word for word in WORDS}
    unknown = [word for word, key in zip(said, plain, strict=True) if key not in known]
    if unknown:
        print(f"expected words out of {', '.join(WORDS)}, got {str(unknown[0]).strip()!r}")
    elif len(plain) != 4:
        print(f"expected four words, one for each report, got {len(plain)}")
    else:
        wrong = [h for h, key, r in zip(HINTS, plain, RIGHT, strict=True) if known[key] != r]
        print(wrong[0] if wrong else "correct")


def log_det(answer: Callable) -> None:
    """Exercise 2: the log-determinant of a planar layer whose 1 + c is given."""

    def det(c_plus_1, h):
        return c_plus_1 * (1 - h**2) + h**2

    slips = {
        "correct: sums of terms that are never negative": lambda p, h: np.log(det(p, h)),
        "expected the logarithm, got the determinant": det,
        "expected -46.05 at first, got minus infinity: 1 - (1 - h^2) cancels, so multiply out "
        "before you subtract": lambda p, h: np.log(1 + (p - 1) * (1 - h**2)),
        "expected c (1 - h^2) in the determinant, got (1 + c) (1 - h^2)": lambda p, h: np.log(
            1 + p * (1 - h**2)
        ),
        "expected (1 - h^2) beside 1 + c: multiply out": lambda p, h: np.log(p + h**2),
    }
    points = [
        (np.array([1e-20, 1e-20, 0.5, 3.0]), np.array([0.0, 1e-9, 0.3, -0.8])),
        (np.array([1e-30, 2.5]), np.array([1e-12, 0.6])),
    ]
    with np.errstate(all="ignore"):  # the logarithm of a determinant that has become 0
        judge(answer, points, slips, "ln(1 + c (1 - h^2)), one value a layer")


def clock_program(constraint: bool = True, slope: bool = True, prior: bool = True) -> Callable:
    """The program of exercise 3; each flag is False for one planted mistake."""

    def program(eps, mean, log_variance, u, w, b):
        z_0 = mean + np.exp(log_variance / 2) * eps
        u_hat = u + (m(w @ u) - w @ u) * w / (w @ w if constraint else 1)
        h = np.tanh(z_0 @ w + b)
        z_1 = z_0 + h[:, None] * u_hat
        det = 1 + w @ u_hat * (1 - h**2 if slope else (1 - h) ** 2)
        log_det = log_variance.sum() / 2 + np.log(det)
        log_prior = normal(z_1 if prior else z_0)
        return z_1, log_det, normal(eps) - log_det - log_likelihood(z_1) - log_prior

    return program


def normal(z):
    return -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi)


def log_likelihood(z):
    return -2 * (2 - z.sum(axis=1)) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))


def points_of_exercise_3():
    """Parameters far from the identity, short w and long, and noise."""
    rng = np.random.default_rng(0)
    for length, wu in ((0.7, -3.0), (2.0, 1.5), (0.5, -2.0)):
        w = rng.standard_normal(2)
        w *= length / np.sqrt(w @ w)
        across = np.array([-w[1], w[0]])
        u = wu * w / length**2 + across
        yield rng.standard_normal((400, 2)), rng.standard_normal(2), rng.normal(size=2), u, w, 0.3


def repair(answer: Callable) -> None:
    """Exercise 3: which laws still object to the program."""
    points = list(points_of_exercise_3())
    try:
        with np.errstate(all="ignore"):  # the logarithm of a negative determinant
            given = [[np.asarray(part, float) for part in answer(*point)] for point in points]
            objections = [objecting(answer, *pair) for pair in zip(points, given, strict=True)]
    except Exception as error:  # a reader's function may fail in any way
        wanted = "z_1 (n, 2), log_det (n,) and F (n,)"
        print(f"expected {wanted}, got {type(error).__name__}: {error}")
        return

    def gives_what(program):
        with np.errstate(all="ignore"):
            outputs = [program(*point) for point in points]
        pairs = zip(given, outputs, strict=True)
        return all(same(a, b) for pair in pairs for a, b in zip(*pair, strict=True))

    found = [law for law in ("log det", "round trip", "bound") if any(law in o for o in objections)]
    laws = f"{' and '.join(found)} {'objects' if len(found) == 1 else 'object'}"
    if gives_what(clock_program(False, False, False)):
        print(f"not attempted: {laws}")
    elif gives_what(clock_program()):
        print("correct: every law is silent")
    elif found:
        print(f"not yet: {laws}")
    else:
        print("every law is silent, but the layer is not the one of (10) with (N2)")


def objecting(program, point, given) -> list[str]:
    """The laws that a program of exercise 3 violates at one point, its outputs given."""
    eps, *params = point
    z_1, log_det, F = given
    if (z_1.shape, log_det.shape, F.shape) != (eps.shape, eps.shape[:1], eps.shape[:1]):
        raise ValueError(f"shapes {z_1.shape}, {log_det.shape}, {F.shape}")
    step = 1e-5 * np.eye(2)
    ahead, behind = ([program(eps + s * e, *params)[0] for e in step] for s in (1, -1))
    (a, b), (c, d) = ((np.subtract(p, q) / 2e-5).T for p, q in zip(ahead, behind, strict=True))
    det = a * d - b * c
    there = np.isfinite(log_det)  # where it is not, the log-det law objects already
    wanted = normal(eps) - log_det - log_likelihood(z_1) - normal(z_1)
    laws = {
        "log det": np.allclose(log_det, np.log(np.abs(det)), rtol=0, atol=1e-4),
        "round trip": det.min() > 0,
        "bound": np.allclose(F[there], wanted[there], rtol=0, atol=1e-8),
    }
    return [law for law, holds in laws.items() if not holds]


def same(a, b) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-8, equal_nan=True)


def mass_is_blind(answer: Callable) -> None:
    """Exercise 4: a wrong log-determinant whose density has mass 1."""
    wanted = "a log-det, shape (n,)"
    z_0 = np.linspace(-12, 12, 24_001)
    weight = np.exp(-0.5 * z_0**2) / np.sqrt(2 * np.pi) * (z_0[1] - z_0[0])  # q_0(z_0) dz_0
    masses, off = [], []
    for log_det in (np.log1p(2 / np.cosh(z_0) ** 2), np.log1p(z_0**2)):
        try:
            given = answer(z_0.copy(), log_det.copy())
            if given is None:
                print("not attempted")
                return
            given = np.asarray(given, float)
        except Exception as error:  # a reader's function may fail in any way
            print(f"expected {wanted}, got {type(error).__name__}: {error}")
            return
        if given.shape != z_0.shape or not np.isfinite(given).all():
            print(f"expected {wanted}, finite, got shape {given.shape}")
            return
        with np.errstate(over="ignore"):
            masses.append(float(weight @ np.exp(log_det - given)))
        off.append(float(np.sqrt(weight @ (log_det - given) ** 2)))
    if min(off) < 0.1:
        print("expected a log-det that is wrong by 0.1 nats or more, got the right one, or nearly")
    elif max(abs(mass - 1) for mass in masses) > 1e-4:
        print(f"expected mass 1 for both maps, got {masses[0]:.4g} and {masses[1]:.4g}")
    else:
        print(f"correct: mass 1, and wrong by {off[0]:.2g} nats, root mean square")
