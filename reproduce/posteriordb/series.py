"""Time series: autoregressions, a moving average, a changing variance, hidden states."""

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from nflib_min._arrays import Array
from reproduce.posteriordb.case import (
    Case,
    Draws,
    case,
    cauchy,
    indexed,
    log_sigmoid,
    log_slope,
    logit,
    normal,
    sigmoid,
)
from reproduce.posteriordb.regressions import columns, regression


def ar_k(data: dict) -> Case:
    """An autoregression of order 5, given the first five values."""
    K, y = data["K"], np.array(data["y"])
    X = columns(1, *[y[K - k : len(y) - k] for k in range(1, K + 1)])

    def prior(beta: Array, sigma: Array) -> Array:
        return cauchy(sigma, 2.5) - 0.5 * anp.sum(beta**2, axis=1) / 100

    made = regression(X, y[K:], prior, ["alpha", *indexed("beta", K)], short=False)
    return case(made.target._log_density, made.names, "autoregression", made.size)


def recurrence(a: Array, r: Array) -> Array:
    """e_t = r_t + a e_{t-1} for all t, by doubling: (n,) and (n, T) -> (n, T)."""
    T, shift, a = r.shape[1], 1, a[:, None]
    while shift < T:
        before = anp.concatenate([0 * r[:, :shift], r[:, : T - shift]], axis=1)
        r, a, shift = r + a * before, a * a, 2 * shift
    return r


def arma11(data: dict) -> Case:
    y = np.array(data["y"])

    def log_density(z: Array) -> Array:
        mu, phi, theta, log_sigma = z.T
        before = anp.concatenate([mu[:, None], 0 * mu[:, None] + y[:-1]], axis=1)
        errors = recurrence(-theta, y - mu[:, None] - phi[:, None] * before)
        sigma = anp.exp(log_sigma)
        prior = normal(mu, 0, 10) + normal(phi, 0, 2) + normal(theta, 0, 2) + cauchy(sigma, 2.5)
        likelihood = -0.5 * anp.sum(errors**2, axis=1) / sigma**2 - len(y) * log_sigma
        return likelihood + prior + log_sigma

    return case(log_density, ["mu", "phi", "theta", "log sigma"], "moving average", len(y))


def garch11(data: dict) -> Case:
    """A variance that follows the last square and the last variance."""
    y, first = np.array(data["y"]), data["sigma1"] ** 2

    def chances(z: Array) -> tuple[Array, Array]:
        alpha1 = sigmoid(z[:, 2])
        return alpha1, (1 - alpha1) * sigmoid(z[:, 3])

    def log_density(z: Array) -> Array:
        mu, log_alpha0 = z[:, :1], z[:, 1:2]
        alpha1, beta1 = chances(z)
        driven = anp.exp(log_alpha0) + alpha1[:, None] * (y[:-1] - mu) ** 2
        variance = recurrence(beta1, anp.concatenate([0 * mu + first, driven], axis=1))
        each = -0.5 * (y - mu) ** 2 / variance - 0.5 * anp.log(variance)
        jacobian = (
            log_alpha0[:, 0] + log_slope(z[:, 2]) + log_sigmoid(-z[:, 2]) + log_slope(z[:, 3])
        )
        return anp.sum(each, axis=1) + jacobian

    def natural(z: Array) -> Array:
        return np.column_stack([z[:, 0], np.exp(z[:, 1]), *chances(z)])

    def back(draws: Draws) -> Array:
        share = draws["beta1"] / (1 - draws["alpha1"])
        real = [np.log(draws["alpha0"]), logit(draws["alpha1"]), logit(share)]
        return np.column_stack([draws["mu"], *real])

    names = ["mu", "log alpha0", "logit alpha1", "logit share"]
    return case(log_density, names, "changing variance", len(y), natural, back)


def hidden_states(log_emission: Array, first: Array, second: Array) -> Array:
    r"""ln p of a chain of two states, the products of its matrices taken in pairs.

    log_emission : (n, T, 2). first, second : logits of going from state 1, and from 2, to 1. Each
    matrix has entries $\theta_{jk} p(y_t | k)$; the first step has no transition.
    """
    moves = anp.stack(
        [
            anp.stack([log_sigmoid(first), log_sigmoid(-first)], axis=1),
            anp.stack([log_sigmoid(second), log_sigmoid(-second)], axis=1),
        ],
        axis=1,
    )  # (n, from, to)
    start = log_emission[:, 0]
    logs = moves[:, None] + log_emission[:, 1:, None, :]
    top = np.max(getval(logs), axis=(2, 3), keepdims=True)  # a constant: its gradient cancels
    M, total = anp.exp(logs - top), np.sum(top, axis=(1, 2, 3))
    while M.shape[1] > 1:
        odd = M[:, -1:] if M.shape[1] % 2 else None
        pairs = M.shape[1] // 2
        left, right = M[:, : 2 * pairs : 2], M[:, 1 : 2 * pairs : 2]
        M = left[..., :, :1] * right[..., :1, :] + left[..., :, 1:] * right[..., 1:, :]
        scale = np.max(getval(M), axis=(2, 3), keepdims=True)
        M, total = M / scale, total + np.sum(np.log(scale), axis=(1, 2, 3))
        M = M if odd is None else anp.concatenate([M, odd], axis=1)
    ends = start[:, :, None] + anp.log(M[:, 0])
    return (
        anp.logaddexp(
            anp.logaddexp(ends[:, 0, 0], ends[:, 0, 1]), anp.logaddexp(ends[:, 1, 0], ends[:, 1, 1])
        )
        + total
    )


def ordered(log_first: Array, log_gap: Array) -> Array:
    """Two positive numbers, the second the larger, (n, 2)."""
    low = anp.exp(log_first)
    return anp.stack([low, low + anp.exp(log_gap)], axis=1)


def ordered_back(draws: Draws, name: str) -> list[Array]:
    low, high = draws[f"{name}[1]"], draws[f"{name}[2]"]
    return [np.log(low), np.log(high - low)]


def hmm_example(data: dict) -> Case:
    """Two hidden states with means near 3 and 10, and unit noise."""
    y = np.array(data["y"])

    def log_density(z: Array) -> Array:
        mu = ordered(z[:, 2], z[:, 3])
        emission = -0.5 * (y[None, :, None] - mu[:, None, :]) ** 2
        jacobian = log_slope(z[:, 0]) + log_slope(z[:, 1]) + z[:, 2] + z[:, 3]
        prior = normal(mu[:, 0], 3, 1) + normal(mu[:, 1], 10, 1)
        return hidden_states(emission, z[:, 0], z[:, 1]) + prior + jacobian

    def natural(z: Array) -> Array:
        return np.column_stack([sigmoid(z[:, :2]), ordered(z[:, 2], z[:, 3])])

    def back(draws: Draws) -> Array:
        chances = [logit(draws["theta1[1]"]), logit(draws["theta2[1]"])]
        return np.column_stack([*chances, *ordered_back(draws, "mu")])

    names = ["logit theta1", "logit theta2", "log mu[1]", "log gap"]
    return case(log_density, names, "hidden Markov", len(y), natural, back)


def hmm_drive(data: dict) -> Case:
    """Is the player driving to the hoop? Two hidden states, two exponential signals."""
    u, v, alpha = (np.array(data[name]) for name in ("u", "v", "alpha"))

    def log_density(z: Array) -> Array:
        phi, rate = ordered(z[:, 2], z[:, 3]), ordered(z[:, 4], z[:, 5])
        emission = (
            anp.log(phi)[:, None, :]
            - u[None, :, None] * phi[:, None, :]
            + anp.log(rate)[:, None, :]
            - v[None, :, None] * rate[:, None, :]
        )
        # Dirichlet priors of two states, with the logit's Jacobian
        beta = sum(
            alpha[j, 0] * log_sigmoid(z[:, j]) + alpha[j, 1] * log_sigmoid(-z[:, j])
            for j in range(2)
        )
        prior = normal(phi[:, 0], 0, 1) + normal(phi[:, 1], 3, 1)
        prior = prior + normal(rate[:, 0], 0, 1) + normal(rate[:, 1], 3, 1) + beta
        return hidden_states(emission, z[:, 0], z[:, 1]) + prior + anp.sum(z[:, 2:], axis=1)

    def natural(z: Array) -> Array:
        both = ordered(z[:, 2], z[:, 3]), ordered(z[:, 4], z[:, 5])
        return np.column_stack([sigmoid(z[:, :2]), *both])

    def back(draws: Draws) -> Array:
        chances = [logit(draws["theta1[1]"]), logit(draws["theta2[1]"])]
        both = [*ordered_back(draws, "phi"), *ordered_back(draws, "lambda")]
        return np.column_stack([*chances, *both])

    names = ["logit theta1", "logit theta2", "log phi[1]", "log phi gap"]
    names += ["log lambda[1]", "log lambda gap"]
    return case(log_density, names, "hidden Markov", len(u), natural, back)
