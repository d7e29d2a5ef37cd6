r"""Densities to fit: Table 1's energies made proper, and models whose evidence is known exactly.

A target gives `log_density`, ln p~ without its normalizer (for a posterior: ln p(x, z)), its
gradient, and, where they exist, `log_normalizer` (ln Z, for a posterior the log evidence
ln p(x)) and exact draws. `log_prob` is the normalized one, so that KL(q || p) is absolute, in nats.
"""

from collections.abc import Callable

import autograd.numpy as np
import numpy as onp
from autograd.core import make_vjp

from nflib_min._arrays import Array, check_dim, check_finite, check_points, check_rows, describe

Sampler = Callable[[int, onp.random.Generator], Array]


class Target:
    r"""A density to fit, given by $\ln \tilde p(z)$ for rows z: a plain function of (n, d).

    Parameters
    ----------
    log_density : (n, d) -> (n,), ln p~ in nats, written with autograd.numpy (or with `gradient`).
    dim : d, at least 1.
    gradient : (n, d) -> ((n,), (n, d)), ln p~ and its gradient together; autograd's if None.
    log_normalizer : ln Z of p~ in nats, None if unknown.
    sample : (n, rng) -> (n, d), exact draws, None if there are none.
    name : for messages.

    Errors: ValueError if log_density returns anything but one finite number a row; `log_prob` and
    `sample` raise ValueError where ln Z or exact draws are not known.

    >>> target = Target(lambda z: -0.5 * np.sum(z**2, axis=1), dim=2, log_normalizer=1.8379)
    >>> target.log_prob(onp.zeros((1, 2)))
    array([-1.8379])

    Source: Rezende & Mohamed (2015), eq. (3), where p~ is the joint p(x, z).
    """

    def __init__(
        self,
        log_density: Callable[[Array], Array],
        dim: int,
        *,
        gradient: Callable[[Array], tuple[Array, Array]] | None = None,
        log_normalizer: float | None = None,
        sample: Sampler | None = None,
        name: str = "target",
    ) -> None:
        if not callable(log_density):
            raise ValueError(f"log_density: expected a function of z, got {describe(log_density)}")
        self.dim, self.name = check_dim(dim), name
        self.log_normalizer = log_normalizer
        self._log_density, self._gradient, self._sample = log_density, gradient, sample

    def log_density(self, z: Array) -> Array:
        """ln p~(z), shape (n,), in nats."""
        check_points(z, self.dim, "z")
        return self._checked(self._log_density(z), z)

    def log_density_and_grad(self, z: Array) -> tuple[Array, Array]:
        """ln p~(z), shape (n,), and its gradient, shape (n, d)."""
        if self._gradient is not None:
            check_points(z, self.dim, "z")
            value, g = self._gradient(z)
            if onp.shape(g) != z.shape:
                raise ValueError(
                    f"gradient of ln p of {self.name}: expected shape {z.shape}, got {describe(g)}"
                )
            return self._checked(value, z), g.astype(z.dtype, copy=False)
        vjp, value = make_vjp(self.log_density, z)
        return value, vjp(onp.ones_like(value))

    def log_prob(self, z: Array) -> Array:
        """ln p(z) = ln p~(z) - ln Z, shape (n,); ValueError if ln Z is not known."""
        if self.log_normalizer is None:
            raise ValueError(f"{self.name}: expected a known log_normalizer for log_prob, got None")
        return self.log_density(z) - self.log_normalizer

    def sample(self, n: int, rng: onp.random.Generator) -> Array:
        """Exact draws, shape (n, d); ValueError if there is no sampler."""
        if self._sample is None:
            raise ValueError(f"{self.name}: expected a sampler for exact draws, got None")
        return self._sample(check_dim(n, "n"), rng)

    def _checked(self, values: Array, z: Array) -> Array:
        check_rows(values, len(z), f"ln p of {self.name}")
        check_finite(values, f"ln p of {self.name}")
        # constants in a target are float64: float32 points get a float32 answer all the same
        return values if values.dtype == z.dtype else values.astype(z.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim})"


# ------------------------------------------------------------------------------- table 1 energies
def w1(z1: Array) -> Array:
    """w_1 = sin(2 pi z_1 / 4), Table 1."""
    return np.sin(2 * np.pi * z1 / 4)


def w2(z1: Array) -> Array:
    """w_2 = 3 exp(-1/2 [(z_1 - 1) / 0.6]^2), Table 1."""
    return 3 * np.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)


def w3(z1: Array) -> Array:
    """w_3 = 3 sigmoid((z_1 - 1) / 0.3), Table 1."""
    return 1.5 * (1 + np.tanh((z1 - 1) / 0.6))  # sigmoid(x) = (1 + tanh(x/2)) / 2


def U1(z: Array) -> Array:
    r"""$U_1 = \tfrac12 \left(\frac{|z| - 2}{0.4}\right)^2
    - \ln\left(e^{-\frac12 [(z_1 - 2)/0.6]^2} + e^{-\frac12 [(z_1 + 2)/0.6]^2}\right)$, (n,).
    """
    ring = 0.5 * ((np.sqrt(np.sum(z**2, axis=1)) - 2) / 0.4) ** 2
    return ring - np.logaddexp(-0.5 * ((z[:, 0] - 2) / 0.6) ** 2, -0.5 * ((z[:, 0] + 2) / 0.6) ** 2)


def U2(z: Array) -> Array:
    r"""$U_2 = \tfrac12 \left[\frac{z_2 - w_1(z_1)}{0.4}\right]^2$: (n, 2) -> (n,)."""
    return 0.5 * ((z[:, 1] - w1(z[:, 0])) / 0.4) ** 2


def U3(z: Array) -> Array:
    r"""$U_3 = -\ln\left(e^{-\frac12 [(z_2 - w_1)/0.35]^2}
    + e^{-\frac12 [(z_2 - w_1 + w_2)/0.35]^2}\right)$: (n, 2) -> (n,).
    """
    z1, z2 = z[:, 0], z[:, 1]
    return -np.logaddexp(
        -0.5 * ((z2 - w1(z1)) / 0.35) ** 2, -0.5 * ((z2 - w1(z1) + w2(z1)) / 0.35) ** 2
    )


def U4(z: Array) -> Array:
    r"""$U_4 = -\ln\left(e^{-\frac12 [(z_2 - w_1)/0.4]^2}
    + e^{-\frac12 [(z_2 - w_1 + w_3)/0.35]^2}\right)$: (n, 2) -> (n,).
    """
    z1, z2 = z[:, 0], z[:, 1]
    return -np.logaddexp(
        -0.5 * ((z2 - w1(z1)) / 0.4) ** 2, -0.5 * ((z2 - w1(z1) + w3(z1)) / 0.35) ** 2
    )


EDGE = 4.0  # the paper plots (-4, 4)^2 and says nothing of what lies outside
TAU = 0.5


def wall(z: Array, tau: float = TAU) -> Array:
    r"""$\frac{\max(|z_1| - 4, 0)^2}{2 \tau^2}$, what makes U2, U3 and U4 proper: (n, 2) -> (n,).

    For every z_1 the integral of $e^{-U}$ over z_2 is $c \sqrt{2\pi}$, with c = 0.40, 0.70, 0.75:
    without a wall Z is infinite. With it $Z = c \sqrt{2\pi}\, (8 + \tau \sqrt{2\pi})$ exactly.
    """
    return np.maximum(np.abs(z[:, 0]) - EDGE, 0) ** 2 / (2 * tau**2)


def table_1(name: str, tau: float = TAU) -> Target:
    r"""One of Table 1's test energies as a proper density $p = e^{-U - \text{wall}} / Z$.

    Parameters
    ----------
    name : "U1", "U2", "U3" or "U4"; ValueError otherwise. U1 is proper as printed.
    tau : the width of the wall's Gaussian tails, > 0 (unused by U1).

    >>> for name in ("U1", "U2", "U3", "U4"):
    ...     print(name, round(table_1(name).log_normalizer, 6))
    U1 1.877502
    U2 2.22763
    U3 2.787245
    U4 2.856238

    Source: Rezende & Mohamed (2015), table 1; the normalizers are this project's.
    """
    if name == "U1":
        return Target(
            lambda z: -U1(z),
            2,
            gradient=_u1_and_grad,
            log_normalizer=U1_LOG_NORMALIZER,
            sample=_sample_u1,
            name=name,
        )
    if name not in RIDGES:
        raise ValueError(f"table_1: expected 'U1', 'U2', 'U3' or 'U4', got {name!r}")
    if not tau > 0:
        raise ValueError(f"tau: expected a number > 0, got {tau}")
    energy, sigmas, centres = RIDGES[name]
    Z = sum(sigmas) * onp.sqrt(2 * onp.pi) * (2 * EDGE + tau * onp.sqrt(2 * onp.pi))
    return Target(
        lambda z: -energy(z) - wall(z, tau),
        2,
        gradient=lambda z: _ridges_and_grad(z, sigmas, centres, tau),
        log_normalizer=float(onp.log(Z)),
        sample=lambda n, rng: _sample_ridges(n, rng, sigmas, centres, tau),
        name=name,
    )


# ln Z of U1 by quadrature, to all digits shown; tests/test_targets.py computes it again
U1_LOG_NORMALIZER = 1.8775016261097


def _u1_and_grad(z: Array) -> tuple[Array, Array]:
    # the two bumps are -(z1^2 + 4)/0.72 + ln 2 cosh(t) with t = z1/0.18: slope (2 tanh t - z1)/0.36
    z1, z2 = z[:, 0], z[:, 1]
    square = z1 * z1
    r = onp.sqrt(square + z2 * z2)
    ring, t = r - 2, z1 / 0.18
    value = onp.abs(t)
    value += onp.log1p(onp.exp(-2 * value))
    value -= square / 0.72 + 4 / 0.72
    value -= 3.125 * ring * ring
    ring *= -6.25
    ring /= onp.maximum(r, 1e-15)  # 0 at the origin
    g = onp.empty_like(z)
    g[:, 0] = ring * z1 + (2 * onp.tanh(t) - z1) / 0.36
    g[:, 1] = ring * z2
    return value, g


def _sample_u1(n: int, rng: onp.random.Generator) -> Array:
    # Rejection from a ring: r has density ~ r e^{-(r-2)^2/0.32}, the angle is uniform, and the
    # bumps' factor e^{-(z1-2)^2/0.72} + e^{-(z1+2)^2/0.72} is largest at z1 = 2: 1 + e^{-8/0.36}
    draws = onp.empty((0, 2))
    while len(draws) < n:
        m = 8 * (n - len(draws)) + 64
        r = 2 + 0.4 * rng.standard_normal(m)
        r = r[rng.random(m) * 6 < r]  # weight r / 6; r > 6 is ten standard deviations away
        angle = 2 * onp.pi * rng.random(len(r))
        z = onp.stack([r * onp.cos(angle), r * onp.sin(angle)], axis=1)
        log_bumps = onp.logaddexp(-((z[:, 0] - 2) ** 2) / 0.72, -((z[:, 0] + 2) ** 2) / 0.72)
        keep = onp.log(rng.random(len(z))) < log_bumps - onp.log1p(onp.exp(-8 / 0.36))
        draws = onp.concatenate([draws, z[keep]])
    return draws[:n]


def _slopes(z1: Array) -> tuple[Array, ...]:
    """w1, w2, w3 and their derivatives, each once."""
    half_turn = onp.pi / 2
    bump = 3 * onp.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)
    step = onp.tanh((z1 - 1) / 0.6)
    return (
        (onp.sin(half_turn * z1), half_turn * onp.cos(half_turn * z1)),
        (bump, bump * (1 - z1) / 0.36),
        (1.5 * (1 + step), 2.5 * (1 - step * step)),
    )


# (energy, the ridges' widths, and how each ridge's centre in z_2 is made of w1, w2, w3)
RIDGES = {
    "U2": (U2, (0.4,), ((1, 0, 0),)),
    "U3": (U3, (0.35, 0.35), ((1, 0, 0), (1, -1, 0))),
    "U4": (U4, (0.4, 0.35), ((1, 0, 0), (1, 0, -1))),
}


def _ridges_and_grad(z: Array, sigmas: tuple, centres: tuple, tau: float) -> tuple[Array, Array]:
    # ln p~ = ln sum_i exp(-q_i^2 / 2) - wall with q_i = (z2 - m_i(z1)) / sigma_i: its gradient is
    # the mean of -q_i dq_i over i, weighted by each ridge's share of the sum
    z1, z2 = z[:, 0], z[:, 1]
    w = _slopes(z1) if len(sigmas) > 1 else _slopes(z1)[:1]
    logs, g1s, g2s = [], [], []
    for sigma, signs in zip(sigmas, centres, strict=True):
        m = sum(sign * value for sign, (value, _) in zip(signs, w, strict=False) if sign)
        slope = sum(sign * dw for sign, (_, dw) in zip(signs, w, strict=False) if sign)
        q = (z2 - m) / sigma
        logs.append(-0.5 * q * q)
        g2s.append(-q / sigma)
        g1s.append(-g2s[-1] * slope)
    beyond = onp.maximum(onp.abs(z1) - EDGE, 0)
    g = onp.empty_like(z)
    if len(logs) == 1:
        value, g[:, 0], g[:, 1] = logs[0], g1s[0], g2s[0]
    else:
        share = 0.5 * (1 + onp.tanh(0.5 * (logs[0] - logs[1])))  # a sigmoid that cannot overflow
        value = onp.logaddexp(logs[0], logs[1])
        g[:, 0] = g1s[1] + share * (g1s[0] - g1s[1])
        g[:, 1] = g2s[1] + share * (g2s[0] - g2s[1])
    g[:, 0] -= onp.sign(z1) * beyond / tau**2
    return value - beyond * beyond / (2 * tau**2), g


def _sample_ridges(
    n: int, rng: onp.random.Generator, sigmas: tuple, centres: tuple, tau: float
) -> Array:
    # given z1 the ridges hold mass sigma_i each, whatever z1 is: so z1 is the wall's marginal
    z1 = rng.uniform(-EDGE, EDGE, n)
    flat = 2 * EDGE / (2 * EDGE + tau * onp.sqrt(2 * onp.pi))
    tail = rng.random(n) >= flat
    beyond = tau * rng.standard_normal(n)
    z1 = onp.where(tail, onp.sign(beyond) * (EDGE + onp.abs(beyond)), z1)
    ridge = rng.choice(len(sigmas), size=n, p=onp.array(sigmas) / sum(sigmas))
    values = onp.stack([value for value, _ in _slopes(z1)])  # (3, n)
    m = onp.sum(onp.array(centres)[ridge].T * values, axis=0)
    return onp.stack([z1, m + onp.array(sigmas)[ridge] * rng.standard_normal(n)], axis=1)


# ---------------------------------------------------------------------- targets in closed form
class Gaussian(Target):
    r"""A normal density with full covariance: $\ln p = -\tfrac12 (z-\mu)^\top \Sigma^{-1} (z-\mu)
    - \tfrac12 \ln\det 2\pi\Sigma$.

    Parameters
    ----------
    mean : (d,). covariance : (d, d), symmetric and positive definite; ValueError otherwise.

    >>> target = Gaussian(onp.zeros(2), onp.array([[1.0, 0.9], [0.9, 1.0]]))
    >>> round(target.mean_field_gap(), 4)
    0.8304

    Source: the correlated posterior that no independent Gaussian fits; Rezende & Mohamed (2015),
    section 2.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        mean, covariance = onp.asarray(mean, dtype=float), onp.asarray(covariance, dtype=float)
        d = check_dim(mean.size)
        if mean.shape != (d,) or covariance.shape != (d, d):
            raise ValueError(
                f"mean and covariance: expected shapes ({d},) and ({d}, {d}), got "
                f"{mean.shape} and {covariance.shape}"
            )
        try:
            root = onp.linalg.cholesky(covariance)
        except onp.linalg.LinAlgError:
            least = onp.linalg.eigvalsh(covariance).min()
            raise ValueError(
                f"covariance: expected a positive definite matrix, got least eigenvalue {least:.3g}"
            ) from None
        self.mean, self.covariance = mean, covariance
        self.precision = onp.linalg.inv(covariance)
        self.half_log_det = float(onp.sum(onp.log(onp.diag(root))))
        super().__init__(
            self._value,
            d,
            gradient=lambda z: (self._value(z), -(z - mean) @ self.precision),
            log_normalizer=0.0,
            sample=lambda n, rng: mean + rng.standard_normal((n, d)) @ root.T,
            name="Gaussian",
        )

    def _value(self, z: Array) -> Array:
        centred = z - self.mean
        square = np.sum(np.dot(centred, self.precision) * centred, axis=1)
        return -0.5 * square - self.half_log_det - 0.5 * self.dim * float(onp.log(2 * onp.pi))

    def mean_field_gap(self) -> float:
        r"""$\min_q \mathrm{KL}(q \| p)$ over independent Gaussians q, in nats.

        The optimum has the mean of p and variances $1 / \Lambda_{ii}$, $\Lambda = \Sigma^{-1}$, so
        the gap is $\tfrac12 \left(\sum_i \ln \Lambda_{ii} + \ln\det\Sigma\right)$.
        """
        return float(0.5 * onp.sum(onp.log(onp.diag(self.precision))) + self.half_log_det)


class LinearGaussian(Target):
    r"""The conjugate model z ~ N(0, I), x | z ~ N(W z, s^2 I), in closed form throughout.

    log_density is the joint $\ln p(x, z)$ at the observed x; log_normalizer is the log evidence
    $\ln p(x) = \ln N(x; 0, W W^\top + s^2 I)$; exact draws come from the posterior
    $N(\Sigma W^\top x / s^2, \Sigma)$, $\Sigma = (I + W^\top W / s^2)^{-1}$.

    Parameters
    ----------
    W : (m, d). noise : s > 0. x : (m,), one observation. ValueError on wrong shapes or s <= 0.

    >>> model = LinearGaussian(onp.array([[2.0]]), 1.0, onp.array([1.0]))
    >>> round(model.log_normalizer, 4)  # ln N(1; 0, 5)
    -1.8237

    Source: Rezende & Mohamed (2015), eqs. (1)-(3), in the one model where all three are exact.
    """

    def __init__(self, W: Array, noise: float, x: Array) -> None:
        W, x = onp.asarray(W, dtype=float), onp.asarray(x, dtype=float)
        if W.ndim != 2 or x.shape != W.shape[:1]:
            raise ValueError(
                f"W and x: expected shapes (m, d) and (m,), got {W.shape} and {x.shape}"
            )
        if not noise > 0:
            raise ValueError(f"noise: expected a number > 0, got {noise}")
        self.W, self.noise, self.x = W, float(noise), x
        m, d = W.shape
        covariance = onp.linalg.inv(onp.eye(d) + W.T @ W / noise**2)
        self.posterior = Gaussian(covariance @ W.T @ x / noise**2, covariance)
        evidence = Gaussian(onp.zeros(m), W @ W.T + noise**2 * onp.eye(m))
        super().__init__(
            self._joint,
            d,
            gradient=lambda z: (self._joint(z), (x - z @ W.T) @ W / noise**2 - z),
            log_normalizer=float(evidence.log_density(x[None])[0]),
            sample=self.posterior.sample,
            name="LinearGaussian",
        )

    def log_likelihood(self, z: Array) -> Array:
        """ln p(x | z), shape (n,)."""
        residual = (self.x - np.dot(z, self.W.T)) / self.noise
        constant = len(self.x) * float(onp.log(onp.sqrt(2 * onp.pi) * self.noise))
        return -0.5 * np.sum(residual**2, axis=1) - constant

    def log_prior(self, z: Array) -> Array:
        """ln p(z), shape (n,)."""
        return -0.5 * np.sum(z**2, axis=1) - 0.5 * self.dim * float(onp.log(2 * onp.pi))

    def _joint(self, z: Array) -> Array:
        return self.log_likelihood(z) + self.log_prior(z)
