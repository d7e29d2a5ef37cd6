"""Eight coaching studies: a hierarchical model with exact evidence and moments."""

from functools import partial

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, describe
from nflib_min.targets.target import Target

LOG_2PI = float(np.log(2 * np.pi))
EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])  # y, points of the SAT-V, schools A to H
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])  # sigma, their standard errors
PRIOR_SD = 5.0  # of mu, and the scale of the half-Cauchy on tau
# ln tau from -40 to 20 and its posterior weights fall off at least like e^-|ln tau - ln 5| on the
# left (the prior) and e^-9 ln tau on the right: what is left out is below 1e-17 of the mass
LOG_TAUS = np.linspace(-40.0, 20.0, 6001)


def eight_schools(centred: bool = False) -> Target:
    r"""The hierarchical model of eight coaching studies, d = 10, with exact evidence and moments.

    $$\mu \sim N(0, 5^2), \quad \tau \sim \text{half-Cauchy}(5), \quad
    \theta_j \sim N(\mu, \tau^2), \quad y_j \sim N(\theta_j, \sigma_j^2), \quad j = 1..8.$$

    z is $(\mu, \ln\tau, \theta_1, .., \theta_8)$ if `centred`, and else
    $(\mu, \ln\tau, \eta_1, .., \eta_8)$ with $\theta_j = \mu + \tau \eta_j$, $\eta_j \sim N(0, 1)$;
    `eight_schools_effects` turns z into $(\mu, \tau, \theta)$. With its Jacobian $\tau$, the
    half-Cauchy is $p(\ln\tau) = 1 / (\pi \cosh(\ln\tau - \ln 5))$.

    Exact: given tau all is Gaussian, which leaves one integral over ln tau, done by the trapezoidal
    rule. Draws take ln tau from that grid by inverse CDF, then mu and theta from their Gaussians.
    ln p(y) is the same for both; Stan's convention, half-Cauchy without its factor 2, is ln 2 less.

    >>> target = eight_schools(centred=True)
    >>> print(f"{target.log_normalizer:.6f}, in Stan {target.log_normalizer - np.log(2):.6f}")
    -31.311347, in Stan -32.004495
    >>> target.names[:3], target.mean[:3].round(3)
    (('mu', 'log_tau', 'theta_1'), array([4.397, 0.802, 6.212]))

    Source: Rubin (1981), "Estimation in parallel randomized experiments"; the priors are those of
    the posteriordb collection (2021); Papaspiliopoulos, Roberts & Sköld (2007) on the two forms.
    """
    form = _centred if centred else _non_centred
    weights, log_evidence = _log_tau_posterior()
    mu_mean, mu_var = _mu_given(LOG_TAUS)
    a, b, v = _local_given(LOG_TAUS, centred)
    # the total laws: E z = E E[z | tau], Cov z = Cov E[z | tau] + E Cov[z | tau]
    given = np.column_stack([mu_mean, LOG_TAUS, a + b * mu_mean[:, None]])
    mean = weights @ given
    covariance = (given - mean).T @ ((given - mean) * weights[:, None])
    slopes = np.column_stack([np.ones_like(mu_mean), np.zeros_like(mu_mean), b])  # dz / dmu
    covariance += slopes.T @ (slopes * (weights * mu_var)[:, None])
    covariance[range(2, 10), range(2, 10)] += weights @ v

    letter = "theta" if centred else "eta"
    return Target(
        partial(_value, centred=centred),
        names=("mu", "log_tau", *(f"{letter}_{j}" for j in range(1, 9))),
        mean=mean,
        covariance=covariance,
        gradient=partial(form, gradient=True),
        log_normalizer=log_evidence,
        sample=partial(_sample, centred=centred),
        name=f"eight schools, {'' if centred else 'non-'}centred",
    )


def _value(z: Array, centred: bool) -> Array:
    return (_centred if centred else _non_centred)(z)[0]


def _sample(n: int, rng: np.random.Generator, centred: bool) -> Array:
    weights, _ = _log_tau_posterior()
    cdf = np.concatenate([[0.0], np.cumsum(weights)])  # at the cells' edges
    step = LOG_TAUS[1] - LOG_TAUS[0]
    edges = np.append(LOG_TAUS - step / 2, LOG_TAUS[-1] + step / 2)
    log_tau = np.interp(rng.random(n) * cdf[-1], cdf, edges)
    mu_mean, mu_var = _mu_given(log_tau)
    mu = mu_mean + np.sqrt(mu_var) * rng.standard_normal(n)
    a, b, v = _local_given(log_tau, centred)
    local = a + b * mu[:, None] + np.sqrt(v) * rng.standard_normal((n, 8))
    return np.column_stack([mu, log_tau, local])


def eight_schools_effects(z: Array, centred: bool = False) -> Array:
    r"""$(\mu, \tau, \theta_1, .., \theta_8)$ of each row of z, shape (n, 10), in points.

    >>> z = np.array([[4.0, 0.0, 1.0, 0, 0, 0, 0, 0, 0, 0]])
    >>> eight_schools_effects(z)[0, :4]
    array([4., 1., 5., 4.])

    Errors: ValueError if z is not of shape (n, 10). Source: see `eight_schools`.
    """
    if not isinstance(z, np.ndarray) or z.ndim != 2 or z.shape[1] != 10:
        raise ValueError(f"z: expected an array of shape (n, 10), got {describe(z)}")
    mu, tau = z[:, :1], np.exp(z[:, 1:2])
    return np.hstack([mu, tau, z[:, 2:] if centred else mu + tau * z[:, 2:]])


def eight_schools_moments() -> tuple[Array, Array]:
    r"""Exact means and standard deviations of $(\mu, \tau, \theta_1, .., \theta_8)$: (10,), (10,).

    >>> mean, sd = eight_schools_moments()
    >>> mean.round(4)[:3], sd.round(4)[:3]  # mu, tau, theta_1
    (array([4.3968, 3.5977, 6.2119]), array([3.3177, 3.22  , 5.5931]))

    Source: see `eight_schools`; the integral is this project's.
    """
    centred = eight_schools(centred=True)
    mean, sd = np.array(centred.mean), np.array(centred.sd)
    weights, _ = _log_tau_posterior()
    tau = np.exp(LOG_TAUS)
    mean[1] = weights @ tau
    sd[1] = np.sqrt(weights @ (tau - mean[1]) ** 2)
    return mean, sd


def _log_tau_posterior() -> tuple[Array, float]:
    """p(ln tau | y) at LOG_TAUS as weights that sum to one, and ln p(y)."""
    # y_j = mu + N(0, tau^2 + sigma_j^2), and mu = N(0, 25): ln p(y | tau) by completing the square
    spread = np.exp(2 * LOG_TAUS)[:, None] + ERRORS**2
    mu_mean, mu_var = _mu_given(LOG_TAUS)
    quadratic = np.sum(EFFECTS**2 / spread, axis=1) - mu_mean**2 / mu_var
    log_p = -0.5 * (quadratic + np.sum(np.log(spread), axis=1) + 8 * LOG_2PI)
    log_p += 0.5 * np.log(mu_var / PRIOR_SD**2) + _log_sech(LOG_TAUS - np.log(PRIOR_SD))
    step = LOG_TAUS[1] - LOG_TAUS[0]
    weights = np.exp(log_p - log_p.max())
    total = weights.sum()
    return weights / total, float(np.log(total * step) + log_p.max())


def _mu_given(log_tau: Array) -> tuple[Array, Array]:
    """Mean and variance of mu given tau and y, theta integrated out: (n,), (n,)."""
    precision = 1 / (np.exp(2 * log_tau)[:, None] + ERRORS**2)
    variance = 1 / (1 / PRIOR_SD**2 + precision.sum(axis=1))
    return variance * (precision @ EFFECTS), variance


def _local_given(log_tau: Array, centred: bool) -> tuple[Array, Array, Array]:
    """(a, b, v), each (n, 8), with theta_j (or eta_j) = a_j + b_j mu + N(0, v_j) given tau, y."""
    tau = np.exp(log_tau)[:, None]
    w = tau**2 / (tau**2 + ERRORS**2)  # the weight of y_j against mu
    if centred:
        return w * EFFECTS, 1 - w, w * ERRORS**2
    pull = tau / (tau**2 + ERRORS**2)  # w / tau, finite at tau = 0
    return pull * EFFECTS, -pull, 1 - w


def _log_sech(s: Array) -> Array:
    """ln 1 / (pi cosh s), with no overflow: the log density of the log of a half-Cauchy."""
    return anp.log(2 / anp.pi) - anp.abs(s) - anp.log1p(anp.exp(-2 * anp.abs(s)))


def _priors(mu: Array, log_tau: Array) -> Array:
    log_normal = -0.5 * (mu / PRIOR_SD) ** 2 - 0.5 * LOG_2PI - anp.log(PRIOR_SD)
    return log_normal + _log_sech(log_tau - anp.log(PRIOR_SD))


# the constants of the two Gaussian factors that each school has
PAIRS_CONSTANT = float(8 * LOG_2PI + np.sum(np.log(ERRORS)))


def _centred(z: Array, gradient: bool = False) -> tuple[Array, Array | None]:
    mu, log_tau, theta = z[:, 0], z[:, 1], z[:, 2:]
    off = (theta - z[:, :1]) * anp.exp(-z[:, 1:2])
    miss = (EFFECTS - theta) / ERRORS
    value = _priors(mu, log_tau) - 0.5 * anp.sum(off**2 + miss**2, axis=1)
    value = value - 8 * log_tau - PAIRS_CONSTANT
    if not gradient:
        return value, None
    g = np.empty_like(z)
    pull = off * np.exp(-z[:, 1:2])  # (theta - mu) / tau^2
    g[:, 0] = pull.sum(axis=1) - mu / PRIOR_SD**2
    g[:, 1] = (off * off).sum(axis=1) - 8 - np.tanh(log_tau - np.log(PRIOR_SD))
    g[:, 2:] = miss / ERRORS - pull
    return value, g


def _non_centred(z: Array, gradient: bool = False) -> tuple[Array, Array | None]:
    mu, log_tau, eta = z[:, 0], z[:, 1], z[:, 2:]
    tau = anp.exp(z[:, 1:2])
    miss = (EFFECTS - z[:, :1] - tau * eta) / ERRORS
    value = _priors(mu, log_tau) - 0.5 * anp.sum(eta**2 + miss**2, axis=1) - PAIRS_CONSTANT
    if not gradient:
        return value, None
    g = np.empty_like(z)
    pull = miss / ERRORS  # d ln p(y | theta) / d theta
    g[:, 0] = pull.sum(axis=1) - mu / PRIOR_SD**2
    g[:, 1] = (pull * tau * eta).sum(axis=1) - np.tanh(log_tau - np.log(PRIOR_SD))
    g[:, 2:] = tau * pull - eta
    return value, g
