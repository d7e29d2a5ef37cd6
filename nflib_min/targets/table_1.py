"""Table 1's test energies, made proper, with exact normalizers and exact draws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array
from nflib_min.targets.target import Target


def w1(z1: Array) -> Array:
    r"""The sine along which the ridges run: $w_1 = \sin(2 \pi z_1 / 4)$, shapes kept.

    >>> w1(np.array([0.0, 1.0]))
    array([0., 1.])

    Source: Rezende & Mohamed (2015), table 1.
    """
    return anp.sin(2 * anp.pi * z1 / 4)


def w2(z1: Array) -> Array:
    r"""The bump that splits U_3: $w_2 = 3 e^{-\frac12 [(z_1 - 1) / 0.6]^2}$, shapes kept.

    >>> float(w2(np.array(1.0)))
    3.0

    Source: Rezende & Mohamed (2015), table 1.
    """
    return 3 * anp.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)


def w3(z1: Array) -> Array:
    r"""The step that forks U_4: $w_3 = 3 \sigma((z_1 - 1) / 0.3)$, shapes kept.

    >>> float(w3(np.array(1.0)))
    1.5

    Source: Rezende & Mohamed (2015), table 1.
    """
    return 1.5 * (1 + anp.tanh((z1 - 1) / 0.6))  # sigmoid(x) = (1 + tanh(x/2)) / 2


def U1(z: Array) -> Array:
    r"""A ring with two modes, an energy: (n, 2) -> (n,), in nats.

    $U_1 = \tfrac12 \left(\frac{|z| - 2}{0.4}\right)^2 -
    \ln\left(e^{-\frac12 [(z_1 - 2)/0.6]^2} + e^{-\frac12 [(z_1 + 2)/0.6]^2}\right)$

    >>> U1(np.array([[2.0, 0.0], [0.0, 1.0]])).round(2) + 0.0
    array([0.  , 7.99])

    Source: Rezende & Mohamed (2015), table 1.
    """
    ring = 0.5 * ((anp.sqrt(anp.sum(z**2, axis=1)) - 2) / 0.4) ** 2
    return ring - anp.logaddexp(
        -0.5 * ((z[:, 0] - 2) / 0.6) ** 2, -0.5 * ((z[:, 0] + 2) / 0.6) ** 2
    )


def U2(z: Array) -> Array:
    r"""A sine, an energy: $U_2 = \tfrac12 [(z_2 - w_1(z_1)) / 0.4]^2$, (n, 2) -> (n,), in nats.

    >>> U2(np.array([[0.0, 1.0]]))
    array([3.125])

    Source: Rezende & Mohamed (2015), table 1.
    """
    return 0.5 * ((z[:, 1] - w1(z[:, 0])) / 0.4) ** 2


def U3(z: Array) -> Array:
    r"""A sine that splits and joins again, an energy: (n, 2) -> (n,), in nats.

    $U_3 = -\ln\left(e^{-\frac12 [(z_2 - w_1)/0.35]^2} +
    e^{-\frac12 [(z_2 - w_1 + w_2)/0.35]^2}\right)$

    >>> U3(np.array([[0.0, 1.0]])).round(2)
    array([4.08])

    Source: Rezende & Mohamed (2015), table 1.
    """
    z1, z2 = z[:, 0], z[:, 1]
    return -anp.logaddexp(
        -0.5 * ((z2 - w1(z1)) / 0.35) ** 2, -0.5 * ((z2 - w1(z1) + w2(z1)) / 0.35) ** 2
    )


def U4(z: Array) -> Array:
    r"""A sine that forks, an energy: (n, 2) -> (n,), in nats.

    $U_4 = -\ln\left(e^{-\frac12 [(z_2 - w_1)/0.4]^2} +
    e^{-\frac12 [(z_2 - w_1 + w_3)/0.35]^2}\right)$

    >>> U4(np.array([[0.0, 1.0]])).round(2)
    array([2.98])

    Source: Rezende & Mohamed (2015), table 1.
    """
    z1, z2 = z[:, 0], z[:, 1]
    return -anp.logaddexp(
        -0.5 * ((z2 - w1(z1)) / 0.4) ** 2, -0.5 * ((z2 - w1(z1) + w3(z1)) / 0.35) ** 2
    )


EDGE = 4.0  # the paper plots (-4, 4)^2 and says nothing of what lies outside
TAU = 0.5


def wall(z: Array, tau: float = TAU) -> Array:
    r"""What makes U2, U3 and U4 proper: $\max(|z_1| - 4, 0)^2 / 2 \tau^2$, (n, 2) -> (n,), in nats.

    For every z_1 the integral of $e^{-U}$ over z_2 is $c \sqrt{2\pi}$, with c = 0.40, 0.70, 0.75:
    without a wall Z is infinite. With it $Z = c \sqrt{2\pi}\, (8 + \tau \sqrt{2\pi})$ exactly.

    >>> wall(np.array([[4.0, 0.0], [5.0, 0.0]]))
    array([0., 2.])

    Source: this project's, for table 1 of Rezende & Mohamed (2015), which plots a square.
    """
    return anp.maximum(anp.abs(z[:, 0]) - EDGE, 0) ** 2 / (2 * tau**2)


def minus_U1(z: Array) -> Array:
    """ln p~ = -U_1, shape (n,)."""
    return -U1(z)


def minus_walled(z: Array, energy: Callable[[Array], Array], tau: float) -> Array:
    """ln p~ = -U - wall, shape (n,), for U_2, U_3 and U_4."""
    return -energy(z) - wall(z, tau)


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
            minus_U1,
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
    Z = sum(sigmas) * np.sqrt(2 * np.pi) * (2 * EDGE + tau * np.sqrt(2 * np.pi))
    ridges: dict[str, Any] = {"sigmas": sigmas, "centres": centres, "tau": tau}
    return Target(
        partial(minus_walled, energy=energy, tau=tau),
        2,
        gradient=partial(_ridges_and_grad, **ridges),
        log_normalizer=float(np.log(Z)),
        sample=partial(_sample_ridges, **ridges),
        name=name,
    )


# ln Z of U1 by quadrature, to all digits shown; the tests compute it again
U1_LOG_NORMALIZER = 1.8775016261097


def _u1_and_grad(z: Array) -> tuple[Array, Array]:
    # the two bumps are -(z1^2 + 4)/0.72 + ln 2 cosh(t) with t = z1/0.18: slope (2 tanh t - z1)/0.36
    z1, z2 = z[:, 0], z[:, 1]
    square = z1 * z1
    r = np.sqrt(square + z2 * z2)
    ring, t = r - 2, z1 / 0.18
    value = np.abs(t)
    value += np.log1p(np.exp(-2 * value))
    value -= square / 0.72 + 4 / 0.72
    value -= 3.125 * ring * ring
    ring *= -6.25
    ring /= np.maximum(r, 1e-15)  # 0 at the origin
    g = np.empty_like(z)
    g[:, 0] = ring * z1 + (2 * np.tanh(t) - z1) / 0.36
    g[:, 1] = ring * z2
    return value, g


def _sample_u1(n: int, rng: np.random.Generator) -> Array:
    # Rejection from a ring: r has density ~ r e^{-(r-2)^2/0.32}, the angle is uniform, and the
    # bumps' factor e^{-(z1-2)^2/0.72} + e^{-(z1+2)^2/0.72} is largest at z1 = 2: 1 + e^{-8/0.36}
    draws = np.empty((0, 2))
    while len(draws) < n:
        m = 8 * (n - len(draws)) + 64
        r = 2 + 0.4 * rng.standard_normal(m)
        r = r[rng.random(m) * 6 < r]  # weight r / 6; r > 6 is ten standard deviations away
        angle = 2 * np.pi * rng.random(len(r))
        z = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
        log_bumps = np.logaddexp(-((z[:, 0] - 2) ** 2) / 0.72, -((z[:, 0] + 2) ** 2) / 0.72)
        keep = np.log(rng.random(len(z))) < log_bumps - np.log1p(np.exp(-8 / 0.36))
        draws = np.concatenate([draws, z[keep]])
    return draws[:n]


def _slopes(z1: Array) -> tuple[Array, ...]:
    """w1, w2, w3 and their derivatives, each once."""
    half_turn = np.pi / 2
    bump = 3 * np.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)
    step = np.tanh((z1 - 1) / 0.6)
    return (
        (np.sin(half_turn * z1), half_turn * np.cos(half_turn * z1)),
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
    beyond = np.maximum(np.abs(z1) - EDGE, 0)
    g = np.empty_like(z)
    if len(logs) == 1:
        value, g[:, 0], g[:, 1] = logs[0], g1s[0], g2s[0]
    else:
        share = 0.5 * (1 + np.tanh(0.5 * (logs[0] - logs[1])))  # a sigmoid that cannot overflow
        value = np.logaddexp(logs[0], logs[1])
        g[:, 0] = g1s[1] + share * (g1s[0] - g1s[1])
        g[:, 1] = g2s[1] + share * (g2s[0] - g2s[1])
    g[:, 0] -= np.sign(z1) * beyond / tau**2
    return value - beyond * beyond / (2 * tau**2), g


def _sample_ridges(
    n: int, rng: np.random.Generator, sigmas: tuple, centres: tuple, tau: float
) -> Array:
    # given z1 the ridges hold mass sigma_i each, whatever z1 is: so z1 is the wall's marginal
    z1 = rng.uniform(-EDGE, EDGE, n)
    flat = 2 * EDGE / (2 * EDGE + tau * np.sqrt(2 * np.pi))
    tail = rng.random(n) >= flat
    beyond = tau * rng.standard_normal(n)
    z1 = np.where(tail, np.sign(beyond) * (EDGE + np.abs(beyond)), z1)
    ridge = rng.choice(len(sigmas), size=n, p=np.array(sigmas) / sum(sigmas))
    values = np.stack([value for value, _ in _slopes(z1)])  # (3, n)
    m = np.sum(np.array(centres)[ridge].T * values, axis=0)
    return np.stack([z1, m + np.array(sigmas)[ridge] * rng.standard_normal(n)], axis=1)
