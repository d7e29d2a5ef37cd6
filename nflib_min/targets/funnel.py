"""Neal's funnel: the posterior of a variance with few data, made pure."""

from functools import partial

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim
from nflib_min.targets.target import Target

LOG_2PI = float(np.log(2 * np.pi))


def neals_funnel(dim: int = 10) -> Target:
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

    return Target(
        _value,
        names=("v", *(f"x_{i}" for i in range(1, d))),
        mean=np.zeros(d),
        covariance=np.diag([9.0] + [float(np.exp(4.5))] * (d - 1)),  # E e^v = e^(9/2)
        gradient=_value_and_grad,
        log_normalizer=0.0,
        sample=partial(_sample, dim=d),
        name="Neal's funnel",
    )


def _value(z: Array) -> Array:
    v, d = z[:, 0], z.shape[1]
    square = anp.sum((z[:, 1:] * anp.exp(-0.5 * z[:, :1])) ** 2, axis=1)
    return -0.5 * (square + (v / 3) ** 2 + (d - 1) * v + d * LOG_2PI) - np.log(3)


def _value_and_grad(z: Array) -> tuple[Array, Array]:
    g, narrow = np.empty_like(z), np.exp(-0.5 * z[:, :1])
    scaled = z[:, 1:] * narrow
    g[:, 0] = 0.5 * ((scaled * scaled).sum(axis=1) - (z.shape[1] - 1)) - z[:, 0] / 9
    g[:, 1:] = -scaled * narrow
    return _value(z), g


def _sample(n: int, rng: np.random.Generator, dim: int) -> Array:
    v = 3 * rng.standard_normal((n, 1))
    return np.hstack([v, np.exp(0.5 * v) * rng.standard_normal((n, dim - 1))])
