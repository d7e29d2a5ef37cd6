"""The checks of the notebook on real posteriors: "not attempted", "correct", or what is wrong."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np

from notebooks.exercises.judge import judge


def log_coin(answer: Callable) -> None:
    """Exercise 1: three mistakes in a log density, of which any may be left."""
    mistakes = {
        "the prior's logarithm": lambda z, k, n: prior(z) - np.log(prior(z)),
        "the Jacobian, d theta / d z = theta (1 - theta)": lambda z, k, n: -np.log(prior(z) / 6),
        "the number of ways to get k heads, which the evidence needs": lambda z, k, n: (
            0 * z - np.log(comb(n, k))
        ),
    }

    def prior(z):
        theta = 1 / (1 + np.exp(-z))
        return 6 * theta * (1 - theta)

    def right(z, k, n):
        log_theta, log_rest = -np.log1p(np.exp(-z)), -np.log1p(np.exp(z))
        return np.log(6 * comb(n, k)) + (k + 2) * log_theta + (n - k + 2) * log_rest

    def with_mistakes(left):
        return lambda z, k, n: right(z, k, n) + sum(mistakes[name](z, k, n) for name in left)

    slips = {"correct: its exponential integrates to the evidence": right}
    for size in (1, 2):
        for left in combinations(mistakes, size):
            slips["expected also " + ", and ".join(left)] = with_mistakes(left)
    slips["not attempted: all three mistakes are there"] = with_mistakes(mistakes)
    slips["expected + ln of the Jacobian, got - ln: theta (1 - theta) is d theta / d z"] = (
        lambda z, k, n: right(z, k, n) - 2 * np.log(prior(z) / 6)
    )
    slips["expected the LOGARITHM of the Jacobian, got the Jacobian"] = lambda z, k, n: (
        right(z, k, n) - np.log(prior(z) / 6) + prior(z) / 6
    )
    z = np.linspace(-12, 12, 2401)
    points = [(z, 7, 10), (z, 3, 5)]

    def seen(value):
        mass = np.exp(np.asarray(value, float)).sum() * 0.01
        return f"an integral of {mass:.4g} where the evidence is {evidence(7, 10):.4g}"

    judge(answer, points, slips, "ln p(z, k), an array like z", seen)


def evidence(k: int, n: int) -> float:
    """p(k) under the prior 6 theta (1 - theta), by the beta integral."""
    return 6 * comb(n, k) / ((n + 3) * comb(n + 2, k + 1))


def weighted(answer: Callable) -> None:
    """Exercise 2: mean, ln Z and effective sample size from tiny weights."""

    def parts(log_w, z):
        top = np.max(log_w)
        w = np.exp(log_w - top)
        ess = w.sum() ** 2 / (w**2).sum()
        return np.array([w @ z / w.sum(), top + np.log(w.mean()), ess]), w, top

    def changed(i, of):
        def slip(log_w, z):
            values, w, top = parts(log_w, z)
            values[i] = of(values[i], w, top, log_w, z)
            return values

        return slip

    slips = {
        "correct": lambda log_w, z: parts(log_w, z)[0],
        "expected ln of the MEAN weight for ln Z, got ln of the sum": changed(
            1, lambda v, w, top, log_w, z: v + np.log(len(w))
        ),
        "expected ln Z, got the mean of the log weights: that is the ELBO": changed(
            1, lambda v, w, top, log_w, z: log_w.mean()
        ),
        "expected the maximum added back to ln Z": changed(
            1, lambda v, w, top, log_w, z: np.log(w.mean())
        ),
        "expected the draws weighted: those of q are not draws of p": changed(
            0, lambda v, w, top, log_w, z: z.mean()
        ),
        "expected weights that sum to one in the mean: divide by their sum": changed(
            0, lambda v, w, top, log_w, z: (w @ z) / len(z)
        ),
        "expected the SQUARE of the sum above in (N5)": changed(
            2, lambda v, w, top, log_w, z: w.sum() / (w**2).sum()
        ),
        "expected n_eff, got its share of n": changed(
            2, lambda v, w, top, log_w, z: v / len(w)
        ),
    }  # fmt: skip
    z = np.array([0.0, 1.0, 3.0, -2.0])
    points = [
        (-2442.0 + np.log([1.0, 2.0, 5.0, 0.5]), z),
        (np.array([-900.0, -901, -899, -905]), z),
    ]

    def seen(value):
        bad = not np.isfinite(np.asarray(value, float)).all()
        return f"{value!r}" + (": exp(-2442) is 0, so take the maximum out first" if bad else "")

    with np.errstate(all="ignore"):
        judge(answer, points, slips, "three numbers: mean, ln Z, n_eff", seen)


def tail(answer: Callable) -> None:
    """Exercise 3: the tail of a mean-field Gaussian on a correlated one."""
    slips = {
        "correct: mean-field is refused from a correlation of 0.7 on": abs,
        "expected |rho|: a negative correlation is as bad as a positive one": lambda rho: rho,
        "expected the worst direction, got the axes: along the ridge q is narrower": lambda rho: (
            rho**2
        ),
        "expected 1 - s^2, got s^2, the variance of q in units of p's": lambda rho: 1 - abs(rho),
        "expected the ridge, got the direction across it, where q is too wide": lambda rho: (
            -abs(rho)
        ),
    }
    judge(answer, [(0.8,), (-0.3,), (0.55,)], slips, "k = 1 - s^2, for the worst direction")


def unseen(answer: Callable) -> None:
    """Exercise 4: what a fit to one of two islands costs, and what its weights say of it."""

    def right(m, a):
        sd = np.sqrt(1 + m * (1 - m) * a**2)
        return np.array([-np.log(1 - m), np.log(1 - m), m * a / sd])

    def changed(i, of):
        return lambda m, a: np.array([of(m, a) if j == i else v for j, v in enumerate(right(m, a))])

    slips = {
        "correct: no weight of q's own draws can tell": right,
        "expected -ln(1 - m) nats: where q lives, p is (1 - m) q": changed(
            0, lambda m, a: -np.log(m)
        ),
        "expected a divergence: it is never negative": changed(0, lambda m, a: np.log(1 - m)),
        "expected ln Z too LOW: every weight is 1 - m, and Z is 1": changed(
            1, lambda m, a: -np.log(1 - m)
        ),
        "expected ln Z too low by -ln(1 - m): equal weights need not be the right ones": changed(
            1, lambda m, a: 0.0
        ),
        "expected standard deviations of p, got those of q": changed(2, lambda m, a: m * a),
        "expected the variance of p: 1 within the islands, m (1 - m) a^2 between them": changed(
            2, lambda m, a: m * a / np.sqrt(m * (1 - m) * a**2)
        ),
        "expected all of p's variance, got 1 + m a^2: that is around 0, not around the mean": (
            changed(2, lambda m, a: m * a / np.sqrt(1 + m * a**2))
        ),
    }
    wanted = "three numbers: KL, error of ln Z, error of the mean in sd of p"
    judge(answer, [(0.5, 14.0), (0.1, 20.0), (0.02, 30.0)], slips, wanted)
