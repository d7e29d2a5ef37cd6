"""The checks of the third notebook's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

from collections.abc import Callable

import numpy as np

from nflib_min import StandardNormal, checks
from nflib_min.planar import determinant
from notebooks.exercises.judge import judge

SHAPES = ((2,), (2,), ())  # of u, w and b


def two_modes(answer: object) -> None:
    """Exercise 1: u, w and b of one planar layer that makes two equal modes of one.

    Along s, the coordinate in the direction of w, the density at the image of a point of the
    standard normal is proportional to e^(-s^2 / 2) / (1 + c h'(|w| s + b)), c = w.u.
    """
    if answer is None:
        print("not attempted")
        return
    try:
        u, w, b = (np.asarray(part, dtype=float) for part in answer)
        given = u.shape, w.shape, b.shape
    except (TypeError, ValueError):
        given = None
    if given != SHAPES or not all(np.isfinite(part).all() for part in (u, w, b)):
        print(f"expected (u, w, b): two numbers, two numbers and one, got {answer!r}")
        return
    c, size = w @ u, np.linalg.norm(w)
    if c <= -1:
        print(f"expected w.u > -1, got {c:g}: this layer folds the plane")
        return
    if size == 0:
        print("expected w other than 0: with w = 0 all points move alike")
        return
    middle = -b / size  # the line w.z + b = 0
    s = np.append(np.linspace(-6.0, 6.0, 4001), middle)
    log_q = -0.5 * s**2 - np.log(determinant(c, np.tanh(size * s + b), 1 + c))
    sides = log_q[s <= middle].max(), log_q[s >= middle].max()
    valley = np.exp(log_q[-1] - min(sides))
    if valley > 0.99:
        print(f"expected two modes, got one: on its line the layer divides by 1 + w.u = {1 + c:g}")
    elif abs(sides[0] - sides[1]) > 0.01:
        print("expected two modes of the same height, got one higher: where does the line lie?")
    elif valley > 0.1:
        print(f"expected a valley below a tenth of the peaks, got {valley:.2f} of them")
    else:
        print(f"correct: the valley is at {valley:.3f} of the peaks, where 1 + w.u = {1 + c:g}")


def least_kl(answer: Callable) -> None:
    """Exercise 2: the floor of maps that keep areas, from N(0, I) to N(0, C), d = 2."""

    def ratio(C):
        return np.linalg.det(C) ** 0.5

    def entropic(rho):
        return np.log(rho) + 1 / rho - 1

    slips = {
        "correct: 0 where det C = 1, when a linear map that keeps areas will do": lambda C: (
            entropic(ratio(C))
        ),
        "expected areas of ellipses, pi r^2 times the ROOT of det C": lambda C: entropic(
            np.linalg.det(C)
        ),
        "expected KL[q* || p*], got KL[p* || q*]": lambda C: entropic(1 / ratio(C)),
        "expected the best map, got what is lost without any": lambda C: (
            0.5 * (np.trace(np.linalg.inv(C)) - 2 + np.log(np.linalg.det(C)))
        ),
    }
    points = [
        (np.array([[5.0, -4.0], [-4.0, 5.0]]) / 9,),
        (np.array([[3.0, 1.0], [1.0, 2.0]]),),
        (np.diag([4.0, 0.25]),),
    ]
    judge(answer, points, slips, "(N5) for two exponential densities of the area")


def inverse_radius(answer: Callable) -> None:
    """Exercise 3: the radius before a radial layer, from the one after it."""

    def root(R, alpha, beta, sign=1.0, slope=1.0):
        B = slope * (alpha + beta - R)
        return 0.5 * (-B + sign * np.sqrt(B**2 + 4 * alpha * R))

    slips = {
        "correct": root,
        "expected the root that is not negative: it is a distance": lambda R, alpha, beta: root(
            R, alpha, beta, sign=-1.0
        ),
        "expected a linear term of alpha + beta - R, got the opposite sign": (
            lambda R, alpha, beta: root(R, alpha, beta, slope=-1.0)
        ),
        "expected the inverse, got the forward map once more": lambda R, alpha, beta: (
            R + beta * R / (alpha + R)
        ),
        "expected the push at r to be undone, got the push at R": lambda R, alpha, beta: (
            R - beta * R / (alpha + R)
        ),
    }
    r = np.array([0.0, 0.2, 0.5, 3.0])
    points = [
        (r + beta * r / (alpha + r), alpha, beta)
        for alpha, beta in ((0.8, 2.0), (1.5, -1.0), (0.3, 5.0))
    ]
    judge(answer, points, slips, "the root of a quadratic in r, shape (n,)")


def wrong_log_det(answer: Callable) -> None:
    """Exercise 4: a log-determinant of the identity that is wrong and passes the mass test."""
    q_0, masses = StandardNormal(2), []
    for points in (160, 241):
        z, cell = checks.grid((-8.0, 8.0), points)
        try:
            given = answer(z)
            if given is None:
                print("not attempted")
                return
            log_det = np.asarray(given, dtype=float)
        except Exception as error:  # a reader's function may fail in any way
            print(f"expected one number a row of z, got {type(error).__name__}: {error}")
            return
        if log_det.shape != (len(z),) or not np.isfinite(log_det).all():
            print(f"expected finite numbers of shape (n,), got shape {log_det.shape}")
            return
        masses.append(np.sum(np.exp(q_0.log_prob(z) - log_det)) * cell)
    near = np.abs(log_det[np.abs(z).max(axis=1) < 2]).max()
    if near < 0.1:
        print("expected a wrong log-determinant, got the right one, 0, or nearly so")
    elif max(abs(mass - 1) for mass in masses) > 1e-4:
        print(f"expected a mass of 1, got {masses[0]:.4f}: e^(-log_det) has to average to 1")
    else:
        print(f"correct: the mass is 1, and the log-determinant is wrong by up to {near:.2f}")
