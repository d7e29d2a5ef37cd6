"""The checks of the eighth notebook's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

from collections.abc import Callable

import numpy as np

from notebooks.exercises.judge import judge


def log_det_sylvester(answer: Callable) -> None:
    """Exercise 1: the log-determinant of a wide layer, from an M x M matrix at each point."""

    def of(matrix):
        def value(U, W, slopes):
            return np.linalg.slogdet(matrix(U, W, slopes))[1]

        return value

    right = of(lambda U, W, h: np.eye(len(W)) + h[:, :, None] * (W @ U))
    slips = {
        "correct": right,
        "expected ln|det|, got |det|: take the logarithm": lambda *p: np.exp(right(*p)),
        "expected the slopes h' in the matrix, got I + W U alone": lambda U, W, h: np.full(
            len(h), np.linalg.slogdet(np.eye(len(W)) + W @ U)[1]
        ),
        "expected the identity as well: J = I + U H W": of(lambda U, W, h: h[:, :, None] * (W @ U)),
        "expected the whole M x M matrix, got its diagonal": lambda U, W, h: np.log(
            np.abs(1 + h * np.diag(W @ U))
        ).sum(axis=1),
    }
    points = []
    for seed, (D, M, n) in enumerate([(5, 2, 4), (4, 3, 2), (3, 1, 3)]):
        rng = np.random.default_rng(seed)
        U, W = rng.standard_normal((D, M)), rng.standard_normal((M, D))
        points.append((U, W, rng.uniform(0.1, 1, (n, M))))
    judge(answer, points, slips, "ln|det J| by (N1) at each point, shape (n,)")


def width(answer: Callable) -> None:
    """Exercise 2: EUBO minus ELBO for two Gaussians on the line."""

    def below(m, s):  # KL[q || p]
        return np.log(s) + (1 + m**2) / (2 * s**2) - 0.5

    def above(m, s):  # KL[p || q]
        return -np.log(s) + (s**2 + m**2) / 2 - 0.5

    slips = {
        "correct": lambda m, s: below(m, s) + above(m, s),
        "expected the gap above as well, got KL[q || p] alone": below,
        "expected the gap below as well, got KL[p || q] alone": above,
        "expected the sum of the two gaps, got their difference": lambda m, s: (
            above(m, s) - below(m, s)
        ),
        "expected EUBO minus ELBO, got ELBO minus EUBO": lambda m, s: -below(m, s) - above(m, s),
    }
    points = [(0.7, 1.5), (-1.2, 0.4), (0.0, 3.0)]
    judge(answer, points, slips, "EUBO minus ELBO in nats; at m = 0, s = 1 it is 0")


def velocity(answer: Callable) -> None:
    """Exercise 3: the mean velocity of the straight lines between two Gaussians."""

    def slope(t, s):
        return (t * s**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * s**2)

    slips = {
        "correct": lambda z, t, m, s: m + slope(t, s) * (z - t * m),
        "expected the deviation z - t m, got z": lambda z, t, m, s: m + slope(t, s) * z,
        "expected the deviation z - t m, got z - m": lambda z, t, m, s: m + slope(t, s) * (z - m),
        "expected the mean m as well": lambda z, t, m, s: slope(t, s) * (z - t * m),
        "expected a velocity that depends on z, got the overall mean": lambda z, t, m, s: m + 0 * z,
        "expected z_1 minus z_0, got the mean of z_1": lambda z, t, m, s: (
            m + t * s**2 / ((1 - t) ** 2 + t**2 * s**2) * (z - t * m)
        ),
        "expected the variance s^2 of z_1, got s": lambda z, t, m, s: (
            m + slope(t, np.sqrt(s)) * (z - t * m)
        ),
    }
    z = np.array([-1.0, 0.3, 2.0])
    points = [(z, 0.3, 1.5, 0.5), (z + 0.2, 0.8, -1.0, 2.0)]
    judge(answer, points, slips, "E[z_1 - z_0 | z_t = z], the shape of z; at t = 0 it is m - z")
