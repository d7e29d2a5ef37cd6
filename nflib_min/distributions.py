"""Fixed densities to start a flow from: nothing here is learned, a bijection does the learning."""

import math
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import elementwise_grad

from nflib_min._arrays import Array, check_dim, check_points, check_rng, untraced
from nflib_min.pullback import where


class StandardNormal:
    r"""The standard normal density, the usual q_0.

    $\ln q_0(z) = -\tfrac12 |z|^2 - \tfrac d2 \ln 2\pi$

    Parameters
    ----------
    dim : d, the number of coordinates, at least 1; ValueError otherwise.

    >>> base = StandardNormal(2)
    >>> base.log_prob(np.zeros((1, 2))).round(4)
    array([-1.8379])

    Source: Rezende & Mohamed (2015), section 4.2, where q_0 = N(mu, diag(sigma^2));
    mu and sigma are an `Affine` here.
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self.half_log = 0.5 * self.dim * math.log(2 * math.pi)

    def sample(self, n: int, rng: np.random.Generator, dtype: type = float) -> Array:
        """Draw z_0, shape (n, d)."""
        check_rng(rng)
        return rng.standard_normal((n, self.dim), dtype=dtype)

    def log_prob(self, z: Array) -> Array:
        """ln q_0(z), shape (n,), in nats."""
        check_points(z, self.dim, "z")
        return (z * z) @ np.full(self.dim, -0.5, untraced(z).dtype) - self.half_log

    def __repr__(self) -> str:
        return f"StandardNormal({self.dim})"


class Uniform:
    r"""The uniform density on a cube, row 2 of the paper's figure 1.

    $q_0(z) = (\text{high} - \text{low})^{-d}$ inside, 0 outside.

    Parameters
    ----------
    dim : d, at least 1.
    low, high : the sides of the cube, low < high; ValueError otherwise.

    >>> Uniform(2, -2.0, 2.0).log_prob(np.array([[0.0, 1.0], [0.0, 3.0]])).round(4)
    array([-2.7726,    -inf])

    Source: Rezende & Mohamed (2015), figure 1.
    """

    def __init__(self, dim: int, low: float = -2.0, high: float = 2.0) -> None:
        self.dim = check_dim(dim)
        if not low < high:
            raise ValueError(f"expected low < high, got low = {low} and high = {high}")
        self.low, self.high = float(low), float(high)

    def sample(self, n: int, rng: np.random.Generator, dtype: type = float) -> Array:
        """Draw z_0, shape (n, d)."""
        check_rng(rng)
        return self.low + (self.high - self.low) * rng.random((n, self.dim), dtype=dtype)

    def log_prob(self, z: Array) -> Array:
        """ln q_0(z), shape (n,): -d ln(high - low) inside the cube, -inf outside."""
        check_points(z, self.dim, "z")
        inside = anp.all((z >= self.low) & (z <= self.high), axis=1)
        log_q = where(inside, -self.dim * float(np.log(self.high - self.low)), -np.inf)
        return log_q.astype(untraced(z).dtype)

    def __repr__(self) -> str:
        return f"Uniform({self.dim}, low={self.low}, high={self.high})"


def score(base: Any, z: Array) -> Array:
    r"""$\nabla_z \ln q_0(z)$, shape (n, d): $-z$ for the standard normal, 0 inside a cube.

    Any other base is asked for its `log_prob`, which autograd differentiates.

    >>> score(StandardNormal(2), np.array([[1.0, -2.0]]))
    array([[-1.,  2.]])

    Source: the gradient of ln q_0 in Rezende & Mohamed (2015), eq. (7).
    """
    if type(base) is StandardNormal:
        return -z
    if type(base) is Uniform:
        return np.zeros_like(z)
    return elementwise_grad(base.log_prob)(z)
