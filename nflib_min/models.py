r"""Posteriors of real data, to fit and to be checked against: each on R^d, Jacobian included.

`log_density` is ln p(z, data) with every constant, so that exp(log_normalizer) is the evidence
p(data). A parameter that lives on part of the line enters through an unconstraining map (tau
through ln tau), and the log of the map's Jacobian is part of log_density. Whatever has no closed
form here (evidence, means, covariances) is integrated when the target is made, and not stored.
"""

from collections.abc import Callable, Sequence

import autograd.numpy as np
import numpy as onp

from nflib_min._arrays import Array, check_dim, check_finite, describe
from nflib_min.targets import Sampler, Target

LOG_2PI = float(onp.log(2 * onp.pi))


class Model(Target):
    r"""A `Target` whose coordinates have names, with its exact moments where they are known.

    Parameters
    ----------
    log_density, gradient, log_normalizer, sample, name : as of `Target`.
    names : d strings, one a coordinate of z; they give the dimension.
    mean : (d,), covariance : (d, d), exact ones in the units of z, or both None.

    Errors: ValueError if there are no names, or where the shapes of the moments disagree with them.

    >>> model = Model(lambda z: -0.5 * np.sum(z**2, axis=1), names=("a", "b"))
    >>> model, model.names, model.mean
    (Model('target', dim=2), ('a', 'b'), None)
    """

    def __init__(
        self,
        log_density: Callable[[Array], Array],
        *,
        names: Sequence[str],
        mean: Array | None = None,
        covariance: Array | None = None,
        gradient: Callable[[Array], tuple[Array, Array]] | None = None,
        log_normalizer: float | None = None,
        sample: Sampler | None = None,
        name: str = "target",
    ) -> None:
        self.names = tuple(names)
        d = len(self.names)
        super().__init__(
            log_density,
            d,
            gradient=gradient,
            log_normalizer=log_normalizer,
            sample=sample,
            name=name,
        )
        self.mean = self.covariance = None
        if mean is not None or covariance is not None:
            shapes = onp.shape(mean), onp.shape(covariance)
            if shapes != ((d,), (d, d)):
                raise ValueError(
                    f"mean and covariance: expected shapes ({d},) and ({d}, {d}), got "
                    f"{shapes[0]} and {shapes[1]}"
                )
            self.mean, self.covariance = onp.array(mean, float), onp.array(covariance, float)

    @property
    def sd(self) -> Array | None:
        """Exact standard deviations, shape (d,), or None."""
        return None if self.covariance is None else onp.sqrt(onp.diag(self.covariance))


# ----------------------------------------------------------------------------------- eight schools
EFFECTS = onp.array([28.0, 8, -3, 7, -1, 1, 18, 12])  # y, points of the SAT-V, schools A to H
ERRORS = onp.array([15.0, 10, 16, 11, 9, 11, 10, 18])  # sigma, their standard errors
PRIOR_SD = 5.0  # of mu, and the scale of the half-Cauchy on tau
# ln tau from -40 to 20 and its posterior weights fall off at least like e^-|ln tau - ln 5| on the
# left (the prior) and e^-9 ln tau on the right: what is left out is below 1e-17 of the mass
LOG_TAUS = onp.linspace(-40.0, 20.0, 6001)


def eight_schools(centred: bool = False) -> Model:
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
    >>> print(f"{target.log_normalizer:.6f}, in Stan {target.log_normalizer - onp.log(2):.6f}")
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
    given = onp.column_stack([mu_mean, LOG_TAUS, a + b * mu_mean[:, None]])
    mean = weights @ given
    covariance = (given - mean).T @ ((given - mean) * weights[:, None])
    slopes = onp.column_stack([onp.ones_like(mu_mean), onp.zeros_like(mu_mean), b])  # dz / dmu
    covariance += slopes.T @ (slopes * (weights * mu_var)[:, None])
    covariance[range(2, 10), range(2, 10)] += weights @ v

    def sample(n: int, rng: onp.random.Generator) -> Array:
        cdf = onp.concatenate([[0.0], onp.cumsum(weights)])  # at the cells' edges
        step = LOG_TAUS[1] - LOG_TAUS[0]
        edges = onp.append(LOG_TAUS - step / 2, LOG_TAUS[-1] + step / 2)
        log_tau = onp.interp(rng.random(n) * cdf[-1], cdf, edges)
        mu_mean, mu_var = _mu_given(log_tau)
        mu = mu_mean + onp.sqrt(mu_var) * rng.standard_normal(n)
        a, b, v = _local_given(log_tau, centred)
        local = a + b * mu[:, None] + onp.sqrt(v) * rng.standard_normal((n, 8))
        return onp.column_stack([mu, log_tau, local])

    letter = "theta" if centred else "eta"
    return Model(
        lambda z: form(z)[0],
        names=("mu", "log_tau", *(f"{letter}_{j}" for j in range(1, 9))),
        mean=mean,
        covariance=covariance,
        gradient=lambda z: form(z, gradient=True),
        log_normalizer=log_evidence,
        sample=sample,
        name=f"eight schools, {'' if centred else 'non-'}centred",
    )


def eight_schools_effects(z: Array, centred: bool = False) -> Array:
    r"""$(\mu, \tau, \theta_1, .., \theta_8)$ of each row of z, shape (n, 10), in points.

    >>> z = onp.array([[4.0, 0.0, 1.0, 0, 0, 0, 0, 0, 0, 0]])
    >>> eight_schools_effects(z)[0, :4]
    array([4., 1., 5., 4.])

    Errors: ValueError if z is not of shape (n, 10). Source: see `eight_schools`.
    """
    if not isinstance(z, onp.ndarray) or z.ndim != 2 or z.shape[1] != 10:
        raise ValueError(f"z: expected an array of shape (n, 10), got {describe(z)}")
    mu, tau = z[:, :1], onp.exp(z[:, 1:2])
    return onp.hstack([mu, tau, z[:, 2:] if centred else mu + tau * z[:, 2:]])


def eight_schools_moments() -> tuple[Array, Array]:
    r"""Exact means and standard deviations of $(\mu, \tau, \theta_1, .., \theta_8)$: (10,), (10,).

    >>> mean, sd = eight_schools_moments()
    >>> mean.round(4)[:3], sd.round(4)[:3]  # mu, tau, theta_1
    (array([4.3968, 3.5977, 6.2119]), array([3.3177, 3.22  , 5.5931]))

    Source: see `eight_schools`; the integral is this project's.
    """
    centred = eight_schools(centred=True)
    mean, sd = centred.mean.copy(), centred.sd
    weights, _ = _log_tau_posterior()
    tau = onp.exp(LOG_TAUS)
    mean[1] = weights @ tau
    sd[1] = onp.sqrt(weights @ (tau - mean[1]) ** 2)
    return mean, sd


def _log_tau_posterior() -> tuple[Array, float]:
    """p(ln tau | y) at LOG_TAUS as weights that sum to one, and ln p(y)."""
    # y_j = mu + N(0, tau^2 + sigma_j^2), and mu = N(0, 25): ln p(y | tau) by completing the square
    spread = onp.exp(2 * LOG_TAUS)[:, None] + ERRORS**2
    mu_mean, mu_var = _mu_given(LOG_TAUS)
    quadratic = onp.sum(EFFECTS**2 / spread, axis=1) - mu_mean**2 / mu_var
    log_p = -0.5 * (quadratic + onp.sum(onp.log(spread), axis=1) + 8 * LOG_2PI)
    log_p += 0.5 * onp.log(mu_var / PRIOR_SD**2) + _log_sech(LOG_TAUS - onp.log(PRIOR_SD))
    step = LOG_TAUS[1] - LOG_TAUS[0]
    weights = onp.exp(log_p - log_p.max())
    total = weights.sum()
    return weights / total, float(onp.log(total * step) + log_p.max())


def _mu_given(log_tau: Array) -> tuple[Array, Array]:
    """Mean and variance of mu given tau and y, theta integrated out: (n,), (n,)."""
    precision = 1 / (onp.exp(2 * log_tau)[:, None] + ERRORS**2)
    variance = 1 / (1 / PRIOR_SD**2 + precision.sum(axis=1))
    return variance * (precision @ EFFECTS), variance


def _local_given(log_tau: Array, centred: bool) -> tuple[Array, Array, Array]:
    """(a, b, v), each (n, 8), with theta_j (or eta_j) = a_j + b_j mu + N(0, v_j) given tau, y."""
    tau = onp.exp(log_tau)[:, None]
    w = tau**2 / (tau**2 + ERRORS**2)  # the weight of y_j against mu
    if centred:
        return w * EFFECTS, 1 - w, w * ERRORS**2
    pull = tau / (tau**2 + ERRORS**2)  # w / tau, finite at tau = 0
    return pull * EFFECTS, -pull, 1 - w


def _log_sech(s: Array) -> Array:
    """ln 1 / (pi cosh s), with no overflow: the log density of the log of a half-Cauchy."""
    return np.log(2 / np.pi) - np.abs(s) - np.log1p(np.exp(-2 * np.abs(s)))


def _priors(mu: Array, log_tau: Array) -> Array:
    log_normal = -0.5 * (mu / PRIOR_SD) ** 2 - 0.5 * LOG_2PI - np.log(PRIOR_SD)
    return log_normal + _log_sech(log_tau - np.log(PRIOR_SD))


# of the two Gaussian factors a school has
PAIRS_CONSTANT = float(8 * LOG_2PI + onp.sum(onp.log(ERRORS)))


def _centred(z: Array, gradient: bool = False) -> tuple[Array, Array | None]:
    mu, log_tau, theta = z[:, 0], z[:, 1], z[:, 2:]
    off = (theta - z[:, :1]) * np.exp(-z[:, 1:2])
    miss = (EFFECTS - theta) / ERRORS
    value = _priors(mu, log_tau) - 0.5 * np.sum(off**2 + miss**2, axis=1)
    value = value - 8 * log_tau - PAIRS_CONSTANT
    if not gradient:
        return value, None
    g = onp.empty_like(z)
    pull = off * onp.exp(-z[:, 1:2])  # (theta - mu) / tau^2
    g[:, 0] = pull.sum(axis=1) - mu / PRIOR_SD**2
    g[:, 1] = (off * off).sum(axis=1) - 8 - onp.tanh(log_tau - onp.log(PRIOR_SD))
    g[:, 2:] = miss / ERRORS - pull
    return value, g


def _non_centred(z: Array, gradient: bool = False) -> tuple[Array, Array | None]:
    mu, log_tau, eta = z[:, 0], z[:, 1], z[:, 2:]
    tau = np.exp(z[:, 1:2])
    miss = (EFFECTS - z[:, :1] - tau * eta) / ERRORS
    value = _priors(mu, log_tau) - 0.5 * np.sum(eta**2 + miss**2, axis=1) - PAIRS_CONSTANT
    if not gradient:
        return value, None
    g = onp.empty_like(z)
    pull = miss / ERRORS  # d ln p(y | theta) / d theta
    g[:, 0] = pull.sum(axis=1) - mu / PRIOR_SD**2
    g[:, 1] = (pull * tau * eta).sum(axis=1) - onp.tanh(log_tau - onp.log(PRIOR_SD))
    g[:, 2:] = tau * pull - eta
    return value, g


# ------------------------------------------------------------------------------------- regressions
def linear_regression(
    X: Array,
    y: Array,
    noise_sd: float,
    prior_sd: float | Array,
    names: Sequence[str] | None = None,
) -> Model:
    r"""Bayesian linear regression with known noise: posterior and evidence in closed form.

    $$\beta \sim N(0, \mathrm{diag}(s^2)), \qquad y \sim N(X \beta, \sigma^2 I)$$

    The prior is d more observations, 0 of $\beta_i$ with noise $s_i$. With A the rows $X / \sigma$
    and $\mathrm{diag}(1/s)$, b the numbers $y / \sigma$ and 0, and $A = Q R$, the log joint is
    $-\tfrac12 |b - A \beta|^2 + c = -\tfrac12 |b - A m|^2 - \tfrac12 |R (\beta - m)|^2 + c$. So the
    mean is $m = R^{-1} Q^\top b$, the covariance $(R^\top R)^{-1}$, the evidence what is left.
    The least KL of an independent Gaussian to it is
    `Gaussian(model.mean, model.covariance).mean_field_gap()`.

    Parameters
    ----------
    X : (n, d), with a column of ones if an intercept is wanted. y : (n,), in any unit.
    noise_sd : sigma > 0, in the unit of y. prior_sd : s > 0, one number or (d,).
    names : d strings; beta_0, beta_1, .. if None.

    Errors: ValueError on wrong shapes, values that are not finite, or a scale that is not > 0.

    >>> X = onp.array([[1.0, 2.0], [1.0, 2.1], [1.0, 1.9]])
    >>> model = linear_regression(X, onp.array([1.0, 1.2, 0.9]), 0.1, 10.0, ("intercept", "slope"))
    >>> model.mean.round(3), round(model.log_normalizer, 3)
    (array([-1.914,  1.473]), -3.778)

    Source: Lindley & Smith (1972), "Bayes estimates for the linear model".
    """
    X, y, prior_sd, names = _checked_data(X, y, prior_sd, names)
    if not noise_sd > 0:
        raise ValueError(f"noise_sd: expected a number > 0, got {noise_sd}")
    n, d = X.shape
    A = onp.vstack([X / noise_sd, onp.diag(1 / prior_sd)])
    b = onp.concatenate([y / noise_sd, onp.zeros(d)])
    Q, R = onp.linalg.qr(A)
    R_inverse = onp.linalg.inv(R)
    mean = R_inverse @ (Q.T @ b)
    constant = -0.5 * (n + d) * LOG_2PI - n * onp.log(noise_sd) - onp.sum(onp.log(prior_sd))
    at_mean = float(constant - 0.5 * onp.sum((b - A @ mean) ** 2))

    def log_density(beta: Array) -> Array:
        return at_mean - 0.5 * np.sum(np.dot(beta - mean, R.T) ** 2, axis=1)

    def gradient(beta: Array) -> tuple[Array, Array]:
        r = (beta - mean) @ R.T
        return at_mean - 0.5 * onp.sum(r * r, axis=1), -r @ R

    return Model(
        log_density,
        names=names,
        mean=mean,
        covariance=R_inverse @ R_inverse.T,
        gradient=gradient,
        log_normalizer=at_mean + 0.5 * d * LOG_2PI - float(onp.sum(onp.log(onp.abs(onp.diag(R))))),
        sample=lambda n, rng: mean + rng.standard_normal((n, d)) @ R_inverse.T,
        name="linear regression",
    )


def logistic_regression(
    X: Array,
    y: Array,
    prior_sd: float | Array,
    names: Sequence[str] | None = None,
) -> Model:
    r"""Bayesian logistic regression; for d <= 3 with evidence and moments by quadrature.

    $$\beta \sim N(0, \mathrm{diag}(s^2)), \qquad
    \ln p(y \mid \beta) = -\sum_i \ln\left(1 + e^{-m_i}\right), \quad
    m_i = (2 y_i - 1)\, x_i^\top \beta.$$

    The posterior is log-concave, so Newton finds its mode; the quadrature is the trapezoidal rule
    in coordinates in which the curvature at the mode is the identity. `log_normalizer`, `mean` and
    `covariance` are None for d > 3, and where a million points do not settle them to 1e-9 (labels
    that a line separates, and so wide a prior that the likelihood is a step).

    Parameters
    ----------
    X : (n, d), with a column of ones if an intercept is wanted. y : (n,), each 0 or 1.
    prior_sd : s > 0, one number or (d,). names : d strings; beta_0, beta_1, .. if None.

    Errors: ValueError on wrong shapes, values that are not finite, labels other than 0 and 1, or a
    scale that is not > 0.

    >>> X = onp.array([[1.0, -1.0], [1.0, 0.0], [1.0, 2.0]])
    >>> model = logistic_regression(X, onp.array([0, 1, 1]), prior_sd=1.0)
    >>> model.mean.round(3), round(model.log_normalizer, 3)
    (array([0.268, 0.826]), -2.013)

    Source: Cox (1958), "The regression analysis of binary sequences"; Jaakkola & Jordan (2000) for
    variational inference in it.
    """
    X, y, prior_sd, names = _checked_data(X, y, prior_sd, names)
    if not onp.isin(y, (0, 1)).all():
        bad = y[~onp.isin(y, (0, 1))][0]
        raise ValueError(f"y: expected labels 0 and 1, got {bad:g}")
    signed = (2 * y - 1)[:, None] * X
    halves = 0.5 * signed
    d = X.shape[1]
    constant = -0.5 * d * LOG_2PI - float(onp.sum(onp.log(prior_sd)))

    def log_density(beta: Array) -> Array:
        margins = np.dot(beta, signed.T)
        log_prior = constant - 0.5 * np.sum((beta / prior_sd) ** 2, axis=1)
        return log_prior - np.sum(np.logaddexp(0.0, -margins), axis=1)

    def gradient(beta: Array) -> tuple[Array, Array]:
        half = halves.astype(beta.dtype, copy=False)
        blocks = onp.array_split(beta, 1 + len(beta) * len(half) // BLOCK)
        parts = [_log_likelihood_and_grad(half, block) for block in blocks]
        value, g = map(onp.concatenate, zip(*parts, strict=True))
        scaled = beta / prior_sd
        return value + constant - 0.5 * onp.sum(scaled**2, axis=1), g - scaled / prior_sd

    known = {}
    if d <= 3:
        mode, root = _newton(signed, prior_sd)
        known = _quadrature(lambda beta: gradient(beta)[0], mode, root)
    return Model(log_density, names=names, gradient=gradient, name="logistic regression", **known)


# entries of a (rows, data) array that stays in cache; larger ones were 20 times slower
BLOCK = 50_000


def _log_likelihood_and_grad(half: Array, beta: Array) -> tuple[Array, Array]:
    # With h = m / 2 and T = tanh h, sigmoid(m) = (1 + T) / 2, so the gradient is (1 - T) @ half
    # and -ln(1 + e^-m) = h - |h| + ln (1 + |T|)/2: one tanh gives both, and nothing overflows.
    # The logs are taken of products of 64 factors in [1/2, 1]: at least 2^-64, fit for float32.
    h = beta @ half.T
    T = onp.tanh(h)
    products = onp.multiply.reduceat(0.5 + 0.5 * onp.abs(T), range(0, len(half), 64), axis=1)
    value = (h - onp.abs(h)).sum(axis=1) + onp.log(products).sum(axis=1)
    return value, (1 - T) @ half


def _checked_data(X: Array, y: Array, prior_sd: float | Array, names: Sequence[str] | None):
    """X, y, prior_sd as float64 of shapes (n, d), (n,), (d,), and d names."""
    X, y = onp.asarray(X, dtype=float), onp.asarray(y, dtype=float)
    if X.ndim != 2 or y.shape != X.shape[:1] or not X.size:
        raise ValueError(f"X and y: expected shapes (n, d) and (n,), got {X.shape} and {y.shape}")
    check_finite(X, "X")
    check_finite(y, "y")
    d = X.shape[1]
    scale = onp.asarray(prior_sd, dtype=float)
    if scale.shape not in ((), (d,)) or not onp.all((scale > 0) & onp.isfinite(scale)):
        raise ValueError(f"prior_sd: expected a number > 0, or {d} of them, got {prior_sd}")
    names = tuple(f"beta_{i}" for i in range(d)) if names is None else tuple(names)
    if len(names) != d:
        raise ValueError(f"names: expected {d}, one a column of X, got {len(names)}")
    return X, y, onp.broadcast_to(scale, d), names


def _newton(signed: Array, prior_sd: Array) -> tuple[Array, Array]:
    """The mode, and a root of the inverse curvature there: (d,), (d, d)."""
    beta = onp.zeros(signed.shape[1])

    def slope_and_curvature(beta):
        p = 0.5 * (1 - onp.tanh(0.5 * (signed @ beta)))
        curvature = (signed.T * (p * (1 - p))) @ signed + onp.diag(prior_sd**-2.0)
        return signed.T @ p - beta / prior_sd**2, curvature

    def value(beta):
        return -onp.logaddexp(0, -signed @ beta).sum() - 0.5 * onp.sum((beta / prior_sd) ** 2)

    for _ in range(200):
        slope, curvature = slope_and_curvature(beta)
        step = onp.linalg.solve(curvature, slope)
        gain = slope @ step  # twice what is to be gained, by the quadratic model
        if gain < 1e-16:
            break
        size = 1.0
        while value(beta + size * step) < value(beta) and size > 1e-10:
            size /= 2
        beta = beta + size * step
    return beta, onp.linalg.inv(onp.linalg.cholesky(curvature)).T


def _quadrature(log_density: Callable[[Array], Array], mode: Array, root: Array) -> dict:
    """ln Z, mean and covariance of a log-concave density in d <= 3, as keywords of `Model`.

    The trapezoidal rule in u, z = mode + root u, whose error falls faster than any power of the
    step h; a unit Gaussian's is 2 e^(-2 pi^2 / h^2), 5e-9 at 1. Step 1 finds the box: a side with
    more than 1e-14 of the mass moves out, beyond which a log-concave density falls at least as fast
    as before. Then h is halved until the same grid, moved by h / 2, gives the same integrals to
    1e-9. Where a million points do not do, nothing is known: {}.
    """
    d = len(mode)
    box = onp.array([[-4, 4]] * d)
    while True:
        u, log_p = _on_grid(log_density, mode, root, box, 1.0, 0.0)
        p = onp.exp(log_p - log_p.max())
        p /= p.sum()
        heavy = [[p[u[:, i] == side].sum() > 1e-14 for side in box[i]] for i in range(d)]
        if not onp.any(heavy):
            break
        box += onp.array(heavy) * [-1, 1]
    h = 0.5
    while onp.prod((box[:, 1] - box[:, 0]) / h) < 1e6:
        halves = []
        for shift in (0.0, h / 2):
            u, log_p = _on_grid(log_density, mode, root, box, h, shift)
            p = onp.exp(log_p - log_p.max())
            mean = p @ u / p.sum()
            second = u.T @ (u * p[:, None]) / p.sum()
            halves.append((log_p.max() + onp.log(p.sum()), mean, second))
        if all(onp.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(*halves, strict=True)):
            log_sum, mean, second = (0.5 * (a + b) for a, b in zip(*halves, strict=True))
            return {
                "log_normalizer": float(log_sum + d * onp.log(h) + onp.linalg.slogdet(root)[1]),
                "mean": mode + root @ mean,
                "covariance": root @ (second - onp.outer(mean, mean)) @ root.T,
            }
        h /= 2
    return {}


def _on_grid(log_density, mode, root, box, step, shift) -> tuple[Array, Array]:
    """The points u of a grid over the box, moved by `shift`, and ln p~ at mode + root u."""
    axes = [shift + onp.arange(low, high + step / 2, step) for low, high in box]
    u = onp.stack(onp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(mode))
    return u, log_density(mode + u @ root.T)


# ------------------------------------------------------------------------------------------ funnel
def neals_funnel(dim: int = 10) -> Model:
    r"""Neal's funnel: $v \sim N(0, 3^2)$, $x_i \mid v \sim N(0, e^v)$; z = (v, x_1, .., x_{d-1}).

    Normalized, with exact draws. Its width $e^{v/2}$ spans two orders of magnitude within one
    standard deviation of v on either side: the posterior of a variance with few data, made pure.

    Parameters
    ----------
    dim : d >= 2; ValueError otherwise.

    >>> funnel = neals_funnel()
    >>> funnel.dim, funnel.log_normalizer, funnel.sd.round(3)[:2]
    (10, 0.0, array([3.   , 9.488]))

    Source: Neal (2003), "Slice sampling", section 8.
    """
    d = check_dim(dim, least=2)

    def log_density(z: Array, gradient: bool = False):
        v, x = z[:, 0], z[:, 1:]
        scaled = x * np.exp(-0.5 * z[:, :1])
        square = np.sum(scaled**2, axis=1)
        value = -0.5 * (square + (v / 3) ** 2 + (d - 1) * v + d * LOG_2PI) - np.log(3)
        if not gradient:
            return value
        g = onp.empty_like(z)
        g[:, 0] = 0.5 * (square - (d - 1)) - v / 9
        g[:, 1:] = -scaled * onp.exp(-0.5 * z[:, :1])
        return value, g

    def sample(n: int, rng: onp.random.Generator) -> Array:
        v = 3 * rng.standard_normal((n, 1))
        return onp.hstack([v, onp.exp(0.5 * v) * rng.standard_normal((n, d - 1))])

    return Model(
        log_density,
        names=("v", *(f"x_{i}" for i in range(1, d))),
        mean=onp.zeros(d),
        covariance=onp.diag([9.0] + [float(onp.exp(4.5))] * (d - 1)),  # E e^v = e^(9/2)
        gradient=lambda z: log_density(z, gradient=True),
        log_normalizer=0.0,
        sample=sample,
        name="Neal's funnel",
    )
