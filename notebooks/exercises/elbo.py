"""The checks of the first notebook's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

import re
from collections.abc import Callable

import numpy as np

from nflib_min import targets
from notebooks.exercises.judge import judge


def gap(answer: Callable) -> None:
    """Exercise 1: what an independent Gaussian loses on the sum of D errors."""

    def posterior(D, s):
        return targets.LinearGaussian(np.ones((1, D)), s, np.ones(1)).posterior

    def forward(D, s):
        p = posterior(D, s)
        return np.log(np.diag(p.covariance)).sum() / 2 - p.half_log_det

    slips = {
        "correct: five errors cost 2.50 nats at s = 0.5": lambda D, s: posterior(
            D, s
        ).mean_field_gap(),
        "expected half of this: (N2) has a 1/2 in front": lambda D, s: (
            2 * posterior(D, s).mean_field_gap()
        ),
        "expected the opposite sign: a divergence is never negative": lambda D, s: (
            -posterior(D, s).mean_field_gap()
        ),
        "expected 1 / precision, got marginal variances: this is KL[p || q]": forward,
    }
    judge(answer, [(5, 0.5), (2, 1.0), (9, 0.3)], slips, "(N2) for this precision")


def bugs(answer: object) -> None:
    """Exercise 2: the letters of the losses that cannot be right."""
    if answer is None:
        print("not attempted")
        return
    # a string or a list: what stands between the letters does not count
    said = set(re.sub(r"""[\s,;.'"()\[\]{}]|\bAND\b""", "", str(answer).upper()))
    fine = {
        "A": "A is above the floor of U1, -1.88: a negative loss alone is no bug",
        "C": "C is positive, as the expected loss of a discrete x must be: no bug",
        "E": "E is about densities per unit of pixel value, which may be large: no bug",
    }
    for letter in sorted(said - {"B", "D"}):
        print(fine.get(letter, f"expected letters from A to E, got {letter!r}"))
        return
    print(
        "correct" if said == {"B", "D"} else "one more is below its floor: which floors are known?"
    )


def with_baseline(answer: Callable) -> None:
    """Exercise 3: the score-function estimates, with the mean of the other draws subtracted."""

    def subtracting(baseline):
        return lambda log_w, score: (log_w - baseline(log_w)) * score

    slips = {
        "correct": subtracting(lambda w: (w.sum() - w) / (len(w) - 1)),
        "expected a baseline, got none": subtracting(lambda w: 0.0),
        "expected the OTHER draws only: with z_i in its own baseline the mean is smaller by a "
        "factor 1 - 1/n": subtracting(np.mean),
        "expected the mean of the n - 1 others, got their sum over n": subtracting(
            lambda w: (w.sum() - w) / len(w)
        ),
    }
    rng = np.random.default_rng(0)
    points = [tuple(rng.normal(-3.0, 1.0, (2, n))) for n in (6, 4)]
    judge(answer, points, slips, "(ln w_i - b_i) * score_i, shape (n,)")


def least_variance(answer: Callable) -> None:
    """Exercise 4: how wide a round q must be for weights of finite variance."""

    def least(precision):
        return np.linalg.eigvalsh(precision)[0]

    slips = {
        "correct: above 1/2 on the clock, so 5/9 will do and 1/5 will not": lambda P: (
            0.5 / least(P)
        ),
        "expected half of this: p is squared, q is not": lambda P: 1 / least(P),
        "expected the direction in which p is widest, got the narrowest": lambda P: (
            0.5 / np.linalg.eigvalsh(P)[-1]
        ),
        "expected any direction, got the axes only": lambda P: 0.5 / np.diag(P).min(),
    }
    clock = np.array([[5.0, 4.0], [4.0, 5.0]])
    points = [(clock,), (np.diag([3.0, 0.5, 2.0]) + 0.4,), (np.array([[2.0, -1.0], [-1.0, 3.0]]),)]
    judge(answer, points, slips, "a number from the eigenvalues of the precision")
