"""The checks of the exercises of notebook 05.

Each prints "not attempted", "correct", or what is wrong.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from notebooks.exercises.judge import judge


def blind(answer: Callable) -> None:
    """Exercise 1: what a network that does not look at x loses, on average."""
    slips = {
        "correct: the variance of the posterior's mean over twice the posterior's variance": (
            lambda tau: 0.5 / tau**2
        ),
        "expected the best q: with the prior as q the width is wrong, too": lambda tau: (
            1 / tau**2 - 0.5 * np.log(1 + 1 / tau**2)
        ),
        "expected the mean of KL[q || p(z|x)], got that of KL[p(z|x) || q], the information "
        "that x has about z": lambda tau: 0.5 * np.log(1 + 1 / tau**2),
        "expected half of this: a divergence of equal widths is (difference of means)^2 / "
        "(2 variance)": lambda tau: 1 / tau**2,
        "expected the distance of the means in units of the posterior's width: divide by its "
        "variance": lambda tau: 0.5 / (1 + tau**2),
        "expected the mean over p(x), whose variance is 1 + tau^2, not that of one x": lambda tau: (
            0.5 / (tau**2 * (1 + tau**2))
        ),
    }
    judge(answer, [(0.5,), (1.5,), (0.8,)], slips, "a number of nats")


def repaired(answer: Callable) -> None:
    """Exercise 2: ln p(x) from S draws; three mistakes are planted in what the reader gets."""

    def variant(sign: bool, mean: bool, stable: bool) -> Callable:
        def estimate(log_joint, log_q0, log_det):
            log_w = log_joint - log_q0 + (log_det if sign else -log_det)
            total = np.logaddexp.reduce(log_w) if stable else np.log(np.sum(np.exp(log_w)))
            return total - np.log(len(log_w)) if mean else total

        return estimate

    hints = (
        "ln q_K = ln q_0 - log_det, and q_K stands below the fraction line",
        "(N5) has the mean of the weights, not their sum",
        "e^-1000 is 0 in floating point; np.logaddexp.reduce adds up in logarithms",
    )
    slips = {"correct": variant(True, True, True)}
    for done in product((True, False), repeat=3):
        left = [hint for hint, repaired in zip(hints, done, strict=True) if not repaired]
        text = "still to repair: " + "; ".join(left)
        if len(left) == 3:
            text = "not attempted: all three mistakes are still there"
        if left:
            slips[text] = variant(*done)
    slips["expected the log of the mean weight, got the mean of the logs: that is the ELBO"] = (
        lambda log_joint, log_q0, log_det: np.mean(log_joint - log_q0 + log_det)
    )
    rng = np.random.default_rng(0)
    small = tuple(rng.normal(-2.0, 1.0, (3, 5)))
    large = (rng.normal(-1000.0, 2.0, 4), *rng.normal(-2.0, 1.0, (2, 4)))
    with np.errstate(divide="ignore"):  # what underflows is judged, not warned of
        judge(answer, [small, large], slips, "(N5) in logarithms, a number")


def plateau(answer: Callable) -> None:
    """Exercise 3: what is seen while a lobe is not met, and how many draws meet it."""

    def right(m, share):
        return np.array([np.log((1 - share) / (1 - m)), np.log(0.5) / np.log1p(-share)])

    def first(value: Callable) -> Callable:
        return lambda m, share: np.array([value(m, share), right(m, share)[1]])

    def second(value: Callable) -> Callable:
        return lambda m, share: np.array([right(m, share)[0], value(m, share)])

    slips = {
        "correct: what is missing is small and steady, and a thousand draws may not show it": right,
        "expected the two the other way round": lambda m, share: right(m, share)[::-1],
        "expected how far BELOW ln p(x) it is: a positive number of nats": first(
            lambda m, share: np.log((1 - m) / (1 - share))
        ),
        "almost: where q puts 1 - share of its draws and the posterior 1 - m of its mass, a weight "
        "is p(x) (1 - m) / (1 - share)": first(lambda m, share: -np.log(1 - m)),
        "expected the shortfall of the estimate, got that of the ELBO, the KL divergence": first(
            lambda m, share: (1 - share) * np.log((1 - share) / (1 - m)) + share * np.log(share / m)
        ),
        "expected the S for which (1 - share)^S is one half, got the mean waiting time": second(
            lambda m, share: 1 / share
        ),
        "expected the S for which (1 - share)^S is one half: draws may meet the lobe twice": second(
            lambda m, share: 0.5 / share
        ),
    }
    points = [(0.2, 0.001), (0.5, 0.01), (0.35, 0.0002)]
    judge(answer, points, slips, "[nats, draws], two numbers")


def variances(answer: Callable) -> None:
    """Exercise 4: the variance of the best q under (20) and under the warm-up of the KL term."""

    def tempered(beta, tau):
        return 1 / (beta * (1 + 1 / tau**2))

    def warmed(beta, tau):
        return 1 / (1 + 1 / (beta * tau**2))

    def pair(a: Callable, b: Callable) -> Callable:
        return lambda beta, tau: np.array([a(beta, tau), b(beta, tau)])

    slips = {
        "correct: (20) is wider than the posterior, the warm-up narrower": pair(tempered, warmed),
        "the other way round: (20) flattens, the warm-up sharpens": pair(warmed, tempered),
        "(20) multiplies the prior as well as the likelihood": pair(
            lambda beta, tau: 1 / (1 + beta / tau**2), warmed
        ),
        "those are precisions: the variance is one over it": pair(
            lambda beta, tau: 1 / tempered(beta, tau), lambda beta, tau: 1 / warmed(beta, tau)
        ),
        "the warm-up divides the likelihood's exponent by beta, and leaves the prior alone": pair(
            tempered, lambda beta, tau: 1 / (beta + 1 / tau**2)
        ),
        "beta multiplies a log density: it divides a variance, and not its square root": pair(
            lambda beta, tau: 1 / ((1 + 1 / tau**2) * beta**2), warmed
        ),
        "those are standard deviations: expected variances": pair(
            lambda beta, tau: np.sqrt(tempered(beta, tau)),
            lambda beta, tau: np.sqrt(warmed(beta, tau)),
        ),
    }
    judge(answer, [(0.1, 0.5), (0.3, 1.5), (0.7, 0.8)], slips, "two variances")
