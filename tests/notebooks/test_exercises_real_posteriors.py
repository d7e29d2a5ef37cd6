"""The checks of the notebook on real posteriors: slips are named, and nothing raises."""

from math import comb

import numpy as np
import pytest

from notebooks.exercises import real_posteriors as exercises


def coin(z, k, n, log=True, jacobian=True, ways=True):
    """The right answer of exercise 1, or one with some of its mistakes."""
    theta = 1 / (1 + np.exp(-z))
    prior = 6 * theta * (1 - theta)
    value = (np.log(prior) if log else prior) + k * np.log(theta) + (n - k) * np.log(1 - theta)
    return value + jacobian * np.log(theta * (1 - theta)) + ways * np.log(comb(n, k))


def weighted(log_w, z):
    w = np.exp(log_w - log_w.max())
    return w @ z / w.sum(), log_w.max() + np.log(w.mean()), w.sum() ** 2 / (w @ w)


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.log_coin, coin, "correct"),
        (exercises.log_coin, lambda z, k, n: list(coin(z, k, n)), "correct"),
        (exercises.log_coin, lambda z, k, n: None, "not attempted"),
        (
            exercises.log_coin,
            lambda *a: coin(*a, log=False, jacobian=False, ways=False),
            "not attempted",
        ),
        (exercises.log_coin, lambda *a: coin(*a, ways=False), "expected also the number of ways"),
        (exercises.log_coin, lambda *a: coin(*a, log=False), "expected also the prior's log"),
        (
            exercises.log_coin,
            lambda *a: coin(*a, jacobian=False, ways=False),
            "expected also the Jacobian, d theta / d z = theta (1 - theta), and the number",
        ),
        (
            exercises.log_coin,
            lambda z, k, n: coin(z, k, n) - 2 * np.log(coin_slope(z)),
            "expected + ln of the Jacobian",
        ),
        (
            exercises.log_coin,
            lambda z, k, n: coin(z, k, n) - np.log(coin_slope(z)) + coin_slope(z),
            "expected the LOGARITHM of the Jacobian",
        ),
        (
            exercises.log_coin,
            lambda z, k, n: coin(z, k, n) + 0.01,
            "expected ln p(z, k), an array like z, got an integral of 0.113 where the evidence is",
        ),
        (exercises.log_coin, lambda z, k, n: "much", "expected ln p(z, k)"),
        (exercises.log_coin, lambda z: z, "expected ln p(z, k), an array like z, got TypeError"),
        (exercises.weighted, weighted, "correct"),
        (exercises.weighted, lambda log_w, z: list(weighted(log_w, z)), "correct"),
        (exercises.weighted, lambda log_w, z: (17 / 8, -2441.02, 2.1), "expected three numbers"),
        (
            exercises.weighted,
            lambda log_w, z: (np.exp(log_w) @ z / np.exp(log_w).sum(), 0.0, 0.0),
            "expected three numbers: mean, ln Z, n_eff, got",
        ),
        (exercises.tail, abs, "correct"),
        (exercises.tail, lambda rho: rho, "expected |rho|"),
        (exercises.tail, lambda rho: rho**2, "expected the worst direction"),
        (exercises.tail, lambda rho: 1 - abs(rho), "expected 1 - s^2, got s^2"),
        (exercises.tail, lambda rho: 0.8, "expected k = 1 - s^2"),
        (exercises.tail, lambda rho: 1 / 0, "expected k = 1 - s^2, for the worst direction, got Z"),
        (exercises.unseen, lambda m, a: (0.693147, -0.693147, 0.98995), "expected three numbers"),
        (exercises.unseen, lambda m, a: lost(m, a), "correct"),
        (exercises.unseen, lambda m, a: (lost(m, a)[0], 0, lost(m, a)[2]), "expected ln Z too low"),
        (
            exercises.unseen,
            lambda m, a: (lost(m, a)[0], -lost(m, a)[1], lost(m, a)[2]),
            "expected ln Z too LOW",
        ),
        (exercises.unseen, lambda m, a: (*lost(m, a)[:2], m * a), "expected standard deviations"),
        (exercises.unseen, lambda m, a: (-np.log(m), *lost(m, a)[1:]), "expected -ln(1 - m) nats"),
        (exercises.unseen, lambda m, a: {"KL": 1}, "expected three numbers"),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)


def coin_slope(z):
    theta = 1 / (1 + np.exp(-z))
    return theta * (1 - theta)


def lost(m, a):
    return -np.log(1 - m), np.log(1 - m), m * a / np.sqrt(1 + m * (1 - m) * a**2)


def test_weights_that_vanish_are_explained(capsys):
    exercises.weighted(lambda log_w, z: (np.log(0 * np.exp(log_w).mean()), 1.0, 1.0))
    assert "take the maximum out first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "of", "said"),
    [
        (0, lambda log_w, z: z.mean(), "expected the draws weighted"),
        (0, lambda log_w, z: weighted(log_w, z)[0] * mass(log_w) / len(z), "expected weights that"),
        (1, lambda log_w, z: log_w.mean(), "expected ln Z, got the mean of the log weights"),
        (1, lambda log_w, z: weighted(log_w, z)[1] + np.log(len(z)), "expected ln of the MEAN"),
        (1, lambda log_w, z: weighted(log_w, z)[1] - log_w.max(), "expected the maximum added"),
        (2, lambda log_w, z: weighted(log_w, z)[2] / len(z), "expected n_eff, got its share"),
        (2, lambda log_w, z: weighted(log_w, z)[2] / mass(log_w), "expected the SQUARE"),
    ],
)
def test_each_of_the_three_numbers_has_its_own_slips(part, of, said, capsys):
    def answer(log_w, z):
        values = list(weighted(log_w, z))
        values[part] = of(log_w, z)
        return values

    exercises.weighted(answer)
    assert capsys.readouterr().out.startswith(said)


def mass(log_w):
    return np.exp(log_w - log_w.max()).sum()


def test_the_evidence_of_the_coin_is_the_integral():
    z = np.linspace(-30, 30, 60_001)
    for k, n in ((7, 10), (3, 5)):
        log_theta, log_rest = -np.log1p(np.exp(-z)), -np.log1p(np.exp(z))
        log_p = np.log(6 * comb(n, k)) + (k + 2) * log_theta + (n - k + 2) * log_rest
        assert abs(np.exp(log_p).sum() * 1e-3 - exercises.evidence(k, n)) < 1e-9


@pytest.mark.parametrize("rho", [0.8, -0.3, 0.55])
def test_the_tail_of_exercise_3_is_that_of_simulated_weights(rho):
    from nflib_min.weights import pareto_k

    z = np.sqrt(1 - rho**2) * np.random.default_rng(0).standard_normal((200_000, 2))
    precision = np.linalg.inv([[1, rho], [rho, 1]])
    log_w = -0.5 * np.sum(z @ precision * z, axis=1) + 0.5 * np.sum(z**2, axis=1) / (1 - rho**2)
    assert abs(pareto_k(log_w)[0] - abs(rho)) < 0.15
