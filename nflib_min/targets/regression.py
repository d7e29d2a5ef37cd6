"""Bayesian linear and logistic regression, with evidence and moments where they can be known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_finite
from nflib_min.targets.target import Target

LOG_2PI = float(np.log(2 * np.pi))


def linear_regression(
    X: Array,
    y: Array,
    noise_sd: float,
    prior_sd: float | Array,
    names: Sequence[str] | None = None,
) -> Target:
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

    >>> X = np.array([[1.0, 2.0], [1.0, 2.1], [1.0, 1.9]])
    >>> model = linear_regression(X, np.array([1.0, 1.2, 0.9]), 0.1, 10.0, ("intercept", "slope"))
    >>> model.mean.round(3), round(model.log_normalizer, 3)
    (array([-1.914,  1.473]), -3.778)

    Source: Lindley & Smith (1972), "Bayes estimates for the linear model".
    """
    X, y, prior_sd, names = _checked_data(X, y, prior_sd, names)
    if not noise_sd > 0:
        raise ValueError(f"noise_sd: expected a number > 0, got {noise_sd}")
    n, d = X.shape
    A = np.vstack([X / noise_sd, np.diag(1 / prior_sd)])
    b = np.concatenate([y / noise_sd, np.zeros(d)])
    Q, R = np.linalg.qr(A)
    R_inverse = np.linalg.inv(R)
    mean = R_inverse @ (Q.T @ b)
    constant = -0.5 * (n + d) * LOG_2PI - n * np.log(noise_sd) - np.sum(np.log(prior_sd))
    at_mean = float(constant - 0.5 * np.sum((b - A @ mean) ** 2))

    density = _Quadratic(mean, R, R_inverse, at_mean)
    return Target(
        density.value,
        names=names,
        mean=mean,
        covariance=R_inverse @ R_inverse.T,
        gradient=density.value_and_grad,
        log_normalizer=at_mean + 0.5 * d * LOG_2PI - float(np.sum(np.log(np.abs(np.diag(R))))),
        sample=density.sample,
        name="linear regression",
    )


@dataclass
class _Quadratic:
    """ln p~ = c - |R (beta - m)|^2 / 2."""

    mean: Array
    R: Array
    R_inverse: Array
    at_mean: float

    def value(self, beta: Array) -> Array:
        return self.at_mean - 0.5 * anp.sum(anp.dot(beta - self.mean, self.R.T) ** 2, axis=1)

    def value_and_grad(self, beta: Array) -> tuple[Array, Array]:
        r = (beta - self.mean) @ self.R.T
        return self.at_mean - 0.5 * np.sum(r * r, axis=1), -r @ self.R

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.mean + rng.standard_normal((n, len(self.mean))) @ self.R_inverse.T


def logistic_regression(
    X: Array,
    y: Array,
    prior_sd: float | Array,
    names: Sequence[str] | None = None,
) -> Target:
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

    >>> X = np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 2.0]])
    >>> model = logistic_regression(X, np.array([0, 1, 1]), prior_sd=1.0)
    >>> model.mean.round(3), round(model.log_normalizer, 3)
    (array([0.268, 0.826]), -2.013)

    Source: Cox (1958), "The regression analysis of binary sequences"; Jaakkola & Jordan (2000) for
    variational inference in it.
    """
    X, y, prior_sd, names = _checked_data(X, y, prior_sd, names)
    if not np.isin(y, (0, 1)).all():
        bad = y[~np.isin(y, (0, 1))][0]
        raise ValueError(f"y: expected labels 0 and 1, got {bad:g}")
    signed, d = (2 * y - 1)[:, None] * X, X.shape[1]
    constant = -0.5 * d * LOG_2PI - float(np.sum(np.log(prior_sd)))
    density, known = _Logistic(signed, prior_sd, constant), {}
    if d <= 3:
        mode, root = _newton(signed, prior_sd)
        known = _quadrature(lambda beta: density.value_and_grad(beta)[0], mode, root)
    return Target(
        density.value,
        names=names,
        gradient=density.value_and_grad,
        name="logistic regression",
        **known,
    )


@dataclass
class _Logistic:
    """ln p~ = c - |beta / s|^2 / 2 - sum_i ln(1 + e^-m_i), m = signed beta."""

    signed: Array
    prior_sd: Array
    constant: float

    def value(self, beta: Array) -> Array:
        margins = anp.dot(beta, self.signed.T)
        log_prior = self.constant - 0.5 * anp.sum((beta / self.prior_sd) ** 2, axis=1)
        return log_prior - anp.sum(anp.logaddexp(0.0, -margins), axis=1)

    def value_and_grad(self, beta: Array) -> tuple[Array, Array]:
        half = (0.5 * self.signed).astype(beta.dtype, copy=False)
        blocks = np.array_split(beta, 1 + len(beta) * len(half) // BLOCK)
        parts = [_log_likelihood_and_grad(half, block) for block in blocks]
        value, g = map(np.concatenate, zip(*parts, strict=True))
        scaled = beta / self.prior_sd
        return value + self.constant - 0.5 * np.sum(scaled**2, axis=1), g - scaled / self.prior_sd


# A (rows, data) array of this many entries stays in cache; larger ones were 20 times slower.
BLOCK = 50_000


def _log_likelihood_and_grad(half: Array, beta: Array) -> tuple[Array, Array]:
    # With h = m / 2 and T = tanh h, sigmoid(m) = (1 + T) / 2, so the gradient is (1 - T) @ half
    # and -ln(1 + e^-m) = h - |h| + ln (1 + |T|)/2: one tanh gives both, and nothing overflows.
    # The logs are taken of products of 64 factors in [1/2, 1]: at least 2^-64, fit for float32.
    h = beta @ half.T
    T = np.tanh(h)
    products = np.multiply.reduceat(0.5 + 0.5 * np.abs(T), range(0, len(half), 64), axis=1)
    value = (h - np.abs(h)).sum(axis=1) + np.log(products).sum(axis=1)
    return value, (1 - T) @ half


def _checked_data(X: Array, y: Array, prior_sd: float | Array, names: Sequence[str] | None):
    """X, y, prior_sd as float64 of shapes (n, d), (n,), (d,), and d names."""
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    if X.ndim != 2 or y.shape != X.shape[:1] or not X.size:
        raise ValueError(f"X and y: expected shapes (n, d) and (n,), got {X.shape} and {y.shape}")
    check_finite(X, "X")
    check_finite(y, "y")
    d = X.shape[1]
    scale = np.asarray(prior_sd, dtype=float)
    if scale.shape not in ((), (d,)) or not np.all((scale > 0) & np.isfinite(scale)):
        raise ValueError(f"prior_sd: expected a number > 0, or {d} of them, got {prior_sd}")
    names = tuple(f"beta_{i}" for i in range(d)) if names is None else tuple(names)
    if len(names) != d:
        raise ValueError(f"names: expected {d}, one a column of X, got {len(names)}")
    return X, y, np.broadcast_to(scale, d), names


def _newton(signed: Array, prior_sd: Array) -> tuple[Array, Array]:
    """The mode, and a root of the inverse curvature there: (d,), (d, d)."""
    beta = np.zeros(signed.shape[1])

    def slope_and_curvature(beta):
        p = 0.5 * (1 - np.tanh(0.5 * (signed @ beta)))
        curvature = (signed.T * (p * (1 - p))) @ signed + np.diag(prior_sd**-2.0)
        return signed.T @ p - beta / prior_sd**2, curvature

    def value(beta):
        return -np.logaddexp(0, -signed @ beta).sum() - 0.5 * np.sum((beta / prior_sd) ** 2)

    for _ in range(200):
        slope, curvature = slope_and_curvature(beta)
        step = np.linalg.solve(curvature, slope)
        gain = slope @ step  # twice what is to be gained, by the quadratic model
        if gain < 1e-16:
            break
        size = 1.0
        while value(beta + size * step) < value(beta) and size > 1e-10:
            size /= 2
        beta = beta + size * step
    return beta, np.linalg.inv(np.linalg.cholesky(curvature)).T


def _quadrature(log_density: Callable[[Array], Array], mode: Array, root: Array) -> dict:
    """ln Z, mean and covariance of a log-concave density in d <= 3, as keywords of `Target`.

    The trapezoidal rule in u, z = mode + root u, whose error falls faster than any power of the
    step h; a unit Gaussian's is 2 e^(-2 pi^2 / h^2), 5e-9 at 1. Step 1 finds the box: a side with
    more than 1e-14 of the mass moves out, beyond which a log-concave density falls at least as fast
    as before. Then h is halved until the same grid, moved by h / 2, gives the same integrals to
    1e-9. Where a million points do not do, nothing is known: {}.
    """
    d = len(mode)
    box = np.array([[-4, 4]] * d)
    while True:
        u, log_p = _on_grid(log_density, mode, root, box, 1.0, 0.0)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        heavy = [[p[u[:, i] == side].sum() > 1e-14 for side in box[i]] for i in range(d)]
        if not np.any(heavy):
            break
        box += np.array(heavy) * [-1, 1]
    h = 0.5
    while np.prod((box[:, 1] - box[:, 0]) / h) < 1e6:
        halves = []
        for shift in (0.0, h / 2):
            u, log_p = _on_grid(log_density, mode, root, box, h, shift)
            p = np.exp(log_p - log_p.max())
            mean = p @ u / p.sum()
            second = u.T @ (u * p[:, None]) / p.sum()
            halves.append((log_p.max() + np.log(p.sum()), mean, second))
        if all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(*halves, strict=True)):
            log_sum, mean, second = (0.5 * (a + b) for a, b in zip(*halves, strict=True))
            return {
                "log_normalizer": float(log_sum + d * np.log(h) + np.linalg.slogdet(root)[1]),
                "mean": mode + root @ mean,
                "covariance": root @ (second - np.outer(mean, mean)) @ root.T,
            }
        h /= 2
    return {}


def _on_grid(log_density, mode, root, box, step, shift) -> tuple[Array, Array]:
    """The points u of a grid over the box, moved by `shift`, and ln p~ at mode + root u."""
    axes = [shift + np.arange(low, high + step / 2, step) for low, high in box]
    u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(mode))
    return u, log_density(mode + u @ root.T)
