"""The checks of the second notebook's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from nflib_min import StandardNormal
from nflib_min.checks import grid
from nflib_min.planar import planar_layer
from notebooks.exercises.judge import judge

U, W = np.array([1.5, 0.5]), np.array([1.6, 1.2])  # the running layer, with b = 0


def log_square(answer: Callable) -> None:
    """Exercise 1: the log-density of the square of a standard normal number."""

    def log_q_0(z_0):
        return -(z_0**2) / 2 - np.log(2 * np.pi) / 2

    def one(z_K):
        return log_q_0(np.sqrt(z_K)) - np.log(2 * np.sqrt(z_K))

    def both(z_K):
        return one(z_K) + np.log(2)

    slips = {
        "correct: z_0 and -z_0 land on the same place, and their shares add up": both,
        "expected two shares, got one: the density of z_K has mass 1/2": one,
        "expected ln q_K, got q_K: take the logarithm": lambda y: np.exp(both(y)),
        "expected -ln(2 pi) / 2 in ln q_0: a constant is missing": lambda y: (
            both(y) + np.log(2 * np.pi) / 2
        ),
        "expected a division by |f'|: the sand moved but was not thinned": lambda y: (
            log_q_0(np.sqrt(y)) + np.log(2)
        ),
        "expected a division by |f'|, and two shares": lambda y: log_q_0(np.sqrt(y)),
        "expected a division by |f'|, got a multiplication": lambda y: (
            log_q_0(np.sqrt(y)) + np.log(4 * np.sqrt(y))
        ),
        "expected |f'| at z_0, got it at z_K": lambda y: log_q_0(np.sqrt(y)) - np.log(y),
        "expected q_0 at z_0, got it at z_K": lambda y: log_q_0(y) - np.log(y) / 2,
        "expected q_0(z_0) in every share: a stretch alone is no density": lambda y: -np.log(y) / 2,
    }
    points = [(np.linspace(0.1, 9.0, 7),), (np.array([0.04, 2.5]),)]
    judge(answer, points, slips, "ln q_K(z_K) by (N2), shape (n,)")


def log_det_radial(answer: Callable) -> None:
    """Exercise 2: the log-determinant of the radial map, from the picture."""

    def of(combined):
        def value(r, alpha, beta, d):
            across = np.log(1 + beta / (alpha + r))
            along = np.log(1 + alpha * beta / (alpha + r) ** 2)
            return combined(across, along, d)

        return value

    slips = {
        "correct": of(lambda across, along, d: (d - 1) * across + along),
        "expected d - 1 directions across, got one": of(lambda across, along, d: across + along),
        "expected another stretch along the ray: differentiate the new radius": of(
            lambda across, along, d: d * across
        ),
        "expected the ray as well, got the directions across alone": of(
            lambda across, along, d: (d - 1) * across
        ),
        "expected the d - 1 directions across as well, got the ray alone": of(
            lambda across, along, d: along
        ),
        "expected d - 1 directions across, got d": of(lambda across, along, d: d * across + along),
        "expected ln|det|, got |det|: take the logarithm": of(
            lambda across, along, d: np.exp((d - 1) * across + along)
        ),
    }
    r = np.array([0.2, 1.0, 3.0])
    points = [(r, 0.7, 1.5, 4), (r + 0.3, 1.3, -0.8, 2), (r, 0.5, 2.0, 1)]
    judge(answer, points, slips, "ln|det| at each r, shape (n,); try d = 1, where only the ray is")


@cache
def mean_det() -> float:
    """The determinant of the running layer, averaged over the base."""
    z, cell = grid((-8.0, 8.0), 320)
    return float(np.sum(np.exp(StandardNormal(2).log_prob(z)) * det(z)) * cell)


def det(z: np.ndarray, seen_by: np.ndarray = W) -> np.ndarray:
    return 1 + (W @ U) * (1 - np.tanh(z @ seen_by) ** 2)


claims = {  # letter -> what somebody says is |det J| at points z_0, shape (n, 2)
    "A": lambda z_0: det(z_0, seen_by=U),
    "B": lambda z_0: mean_det() + 0 * z_0[:, 0],
    "C": lambda z_0: det(z_0),
    "D": lambda z_0: det(planar_layer(U, W, 0.0, z_0)[0]),
}


def planted(wrong: object, unseen: object) -> None:
    """Exercise 3: which claims are wrong, and which of them the mass does not betray."""
    if wrong is None and unseen is None:
        print("not attempted")
        return
    wrong, unseen = letters(wrong), letters(unseen)
    mass = {"A": "0.93", "D": "1.64"}
    if strange := sorted((wrong | unseen) - set(claims)):
        print(f"wrong, unseen: expected letters from A to D, got {strange[0]!r}")
    elif "C" in wrong | unseen:
        print("C agrees with autodiff and with differences at every point")
    elif wrong != {"A", "B", "D"}:
        print("wrong: expected one more; compare with the columns of J at z_0 = (1, 0)")
    elif unseen & set(mass):
        letter = min(unseen & set(mass))
        print(f"unseen: the density that {letter} gives has mass {mass[letter]}, which is seen")
    elif unseen != {"B"}:
        print("unseen: expected the letter whose density has mass 1")
    else:
        print("correct: B is the average of C over the base; its density has mass 1 and is wrong")


def letters(answer: object) -> set[str]:
    """The letters in a string or a list, whatever stands between them."""
    said = "" if answer is None else str(answer).upper()
    return set(re.sub(r"""[\s,;.'"()\[\]{}]|\bAND\b""", "", said))


def two_modes(answer: object) -> None:
    """Exercise 4: (u, w) of a map of the line that makes two modes out of one."""
    if answer is None:
        print("not attempted")
        return
    try:
        u, w = (float(part) for part in answer)
        finite = np.isfinite(u * w) and abs(w) < 1e4
    except (TypeError, ValueError):
        finite = False
    if not finite:
        print(f"expected two numbers (u, w), got {answer!r}")
        return
    c = u * w
    if c <= -1:
        print(f"expected w u > -1, got {c:.3g}: the line folds")
        return
    z = np.linspace(-6, 6, 240_001)
    z_K, q = z + u * np.tanh(w * z), np.exp(-(z**2) / 2) / (1 + c * (1 - np.tanh(w * z) ** 2))
    modes = z_K[1:-1][(q[1:-1] > q[:-2]) & (q[1:-1] > q[2:])]
    thinner = q.max() / q[120_000]
    if len(modes) != 2:
        print(f"expected two modes, got {len(modes)}: how fast must the stretch fall off 0?")
    elif np.abs(np.abs(modes) - 2).max() > 0.1:
        print(f"expected modes at -2 and 2, got {modes[0]:.2f} and {modes[1]:.2f}")
    elif thinner < 50:
        print(f"expected 50 times less sand in the middle, got {thinner:.3g} times less")
    else:
        print(f"correct: the modes are at {modes[0]:.2f} and {modes[1]:.2f}, joined by a thread")
