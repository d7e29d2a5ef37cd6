"""Time series: autoregressions, a moving average, a changing variance, hidden states."""

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

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


@primitive
def recurrence(a: Array, r: Array) -> Array:
    """e_t = r_t + a e_{t-1} for all t: (n,) and (n, T) -> (n, T)."""
    e = np.empty(r.T.shape)
    e[0] = r[:, 0]
    for t in range(1, len(e)):
        e[t] = r[:, t] + a * e[t - 1]
    return e.T


def backward(e: Array, a: Array, g: Array) -> Array:
    """The gradient for r: the same recurrence, backward in time."""
    return recurrence(a, g[:, ::-1])[:, ::-1]


defvjp(
    recurrence,
    lambda e, a, r: lambda g: np.sum(backward(e, a, g)[:, 1:] * e[:, :-1], axis=1),
    lambda e, a, r: lambda g: backward(e, a, g),
)


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


def prepared(log_emission: Array, log_moves: Array) -> tuple[Array, Array, Array]:
    """Emissions, (T, 2, n), the larger of two 1, moves, (from, to, n), and what was divided out."""
    top = log_emission.max(axis=0)
    emission = np.ascontiguousarray(np.exp(log_emission - top).transpose(2, 0, 1))
    return emission, np.exp(log_moves), top.sum(axis=1)


def filtered(emission: Array, moves: Array) -> tuple[Array, Array]:
    """Forward probabilities of the states, (T, 2, n), and their scales, (T, n)."""
    ahead, scale = np.empty(emission.shape), np.empty((len(emission), emission.shape[2]))
    for t, seen in enumerate(emission):
        before = ahead[t - 1]
        now = seen * (before[0] * moves[0] + before[1] * moves[1]) if t > 0 else seen
        scale[t] = now[0] + now[1]
        ahead[t] = now / scale[t]
    return ahead, scale


@primitive
def hidden_states(log_emission: Array, log_moves: Array) -> Array:
    """ln p of a chain of two states, (2, n, T) and (from, to, n) -> (n,); the first has no move."""
    emission, moves, top = prepared(log_emission, log_moves)
    return np.log(filtered(emission, moves)[1]).sum(axis=0) + top


def states_gradient(log_emission: Array, log_moves: Array) -> tuple[Array, Array]:
    """Those of ln p: the chances of each state, and the expected number of each move."""
    emission, moves, _ = prepared(log_emission, log_moves)
    ahead, scale = filtered(emission, moves)
    behind = np.ones(ahead.shape)
    for t in range(len(ahead) - 1, 0, -1):
        later = emission[t] * behind[t] / scale[t]
        behind[t - 1] = moves[:, 0] * later[0] + moves[:, 1] * later[1]
    later = emission[1:] * behind[1:] / scale[1:, None]
    pairs = [[np.sum(ahead[:-1, j] * later[:, k], axis=0) for k in range(2)] for j in range(2)]
    return (ahead * behind).transpose(1, 2, 0), np.array(pairs) * moves


defvjp(
    hidden_states,
    lambda value, e, m: lambda g: g[:, None] * states_gradient(e, m)[0],
    lambda value, e, m: lambda g: g * states_gradient(e, m)[1],
)


def log_moves(first: Array, second: Array) -> Array:
    """ln of the chances to go, (from, to, n), by the logits of going from 1, and from 2, to 1."""
    rows = [anp.stack([log_sigmoid(t), log_sigmoid(-t)]) for t in (first, second)]
    return anp.stack(rows)


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
        emission = -0.5 * (y - mu.T[:, :, None]) ** 2
        jacobian = log_slope(z[:, 0]) + log_slope(z[:, 1]) + z[:, 2] + z[:, 3]
        prior = normal(mu[:, 0], 3, 1) + normal(mu[:, 1], 10, 1)
        return hidden_states(emission, log_moves(z[:, 0], z[:, 1])) + prior + jacobian

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
        phis, rates = phi.T[:, :, None], rate.T[:, :, None]
        emission = anp.log(phis) - u * phis + anp.log(rates) - v * rates
        # Dirichlet priors of two states, with the logit's Jacobian
        beta = sum(
            alpha[j, 0] * log_sigmoid(z[:, j]) + alpha[j, 1] * log_sigmoid(-z[:, j])
            for j in range(2)
        )
        prior = normal(phi[:, 0], 0, 1) + normal(phi[:, 1], 3, 1)
        prior = prior + normal(rate[:, 0], 0, 1) + normal(rate[:, 1], 3, 1) + beta
        return (
            hidden_states(emission, log_moves(z[:, 0], z[:, 1])) + prior + anp.sum(z[:, 2:], axis=1)
        )

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
