"""A density to fit, and what may be known of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from autograd.core import make_vjp
from autograd.tracer import isbox

from nflib_min._arrays import Array, check_dim, check_points, check_rng, describe, untraced

Sampler = Callable[[int, np.random.Generator], Array]
UNTRACEABLE = (
    "expected a function that autograd can trace, written with autograd.numpy; otherwise give "
    'gradient=, (n, d) -> ((n,), (n, d)), from JAX for instance, or gradient="differences"'
)
STEP = np.finfo(float).eps ** (1 / 3)  # of central differences, times the size of a coordinate


class Target:
    r"""A density to fit, given by $\ln \tilde p(z)$ for rows z: a plain function of (n, d).

    Parameters
    ----------
    log_density : (n, d) -> (n,), ln p~ in nats, without its normalizer (for a posterior ln p(x, z))
        and -inf where the density is 0. Written with autograd.numpy, it needs no gradient.
    dim : d, at least 1; not needed where names are given.
    gradient : (n, d) -> ((n,), (n, d)), ln p~ and its gradient together; autograd's if None;
        "differences" for central differences, 2 d more evaluations, with an error of about 1e-10.
    log_normalizer : ln Z of p~ in nats (for a posterior the log evidence), None if unknown.
    sample : (n, rng) -> (n, d), exact draws, None if there are none.
    names : d strings, one a coordinate of z. mean : (d,), covariance : (d, d), exact, or None.
    name : for messages.

    Errors: ValueError if log_density returns anything but one number or -inf a row, or cannot be
    differentiated, or where shapes disagree; `log_prob` and `sample` raise ValueError where ln Z or
    exact draws are not known.

    A target made of functions that can be pickled can be pickled.

    >>> import autograd.numpy as anp
    >>> target = Target(lambda z: -0.5 * anp.sum(z**2, axis=1), dim=2, log_normalizer=1.8379)
    >>> target.log_prob(np.zeros((1, 2)))
    array([-1.8379])

    Source: Rezende & Mohamed (2015), eq. (3), where p~ is the joint p(x, z).
    """

    def __init__(
        self,
        log_density: Callable[[Array], Array],
        dim: int | None = None,
        *,
        gradient: Callable[[Array], tuple[Array, Array]] | str | None = None,
        log_normalizer: float | None = None,
        sample: Sampler | None = None,
        names: Sequence[str] | None = None,
        mean: Array | None = None,
        covariance: Array | None = None,
        name: str = "target",
    ) -> None:
        if not callable(log_density):
            raise ValueError(f"log_density: expected a function of z, got {describe(log_density)}")
        if isinstance(gradient, str) and gradient != "differences":
            raise ValueError(f'gradient: expected a function or "differences", got {gradient!r}')
        self.names = None if names is None else tuple(names)
        d = dim if self.names is None else len(self.names)
        self.dim, self.name = check_dim(d if d is not None else 0), name
        if dim not in (None, self.dim):
            raise ValueError(f"names: expected {dim}, got {self.dim}")
        self.mean = self.covariance = None
        if mean is not None or covariance is not None:
            shapes = np.shape(np.asarray(mean)), np.shape(np.asarray(covariance))
            if shapes != ((self.dim,), (self.dim, self.dim)):
                raise ValueError(
                    f"mean and covariance: expected shapes ({self.dim},) and ({self.dim}, "
                    f"{self.dim}), got {shapes[0]} and {shapes[1]}"
                )
            self.mean = np.array(mean, float)
            self.covariance = check_symmetric(np.array(covariance, float), "covariance")
        self.log_normalizer = log_normalizer
        self._log_density, self._gradient, self._sample = log_density, gradient, sample

    @property
    def sd(self) -> Array | None:
        """Exact standard deviations, shape (d,), or None."""
        return None if self.covariance is None else np.sqrt(np.diag(self.covariance))

    def log_density(self, z: Array) -> Array:
        """ln p~(z), shape (n,), in nats; -inf where the density is 0."""
        check_points(z, self.dim, "z")
        return self._checked(self._log_density(z), z)

    def log_density_and_grad(self, z: Array) -> tuple[Array, Array]:
        """ln p~(z), shape (n,), and its gradient, shape (n, d).

        ValueError where autograd cannot follow the density back to z, which would make it 0.
        """
        if self._gradient == "differences":
            return self._by_differences(z)
        if callable(self._gradient):
            check_points(z, self.dim, "z")
            value, g = self._gradient(z)
            if np.shape(g) != z.shape:
                raise ValueError(
                    f"gradient of ln p of {self.name}: expected shape {z.shape}, got {describe(g)}"
                )
            return self._checked(value, z), g.astype(z.dtype, copy=False)
        try:
            vjp, value = make_vjp(self._traced, z)
            return value, vjp(np.ones_like(value))
        except (TypeError, AttributeError, ValueError) as error:
            if "expected" in str(error):  # a message of this library's says what is wrong
                raise
            self.log_density(z)  # what is wrong without autograd, too, says so itself
            raise ValueError(f"ln p of {self.name}: {UNTRACEABLE}; got {error}") from error

    def log_prob(self, z: Array) -> Array:
        """ln p(z) = ln p~(z) - ln Z, shape (n,); ValueError if ln Z is not known."""
        if self.log_normalizer is None:
            raise ValueError(f"{self.name}: expected a known log_normalizer for log_prob, got None")
        return self.log_density(z) - self.log_normalizer

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Exact draws, shape (n, d); ValueError if there is no sampler."""
        if self._sample is None:
            raise ValueError(f"{self.name}: expected a sampler for exact draws, got None")
        check_rng(rng)
        return self._sample(check_dim(n, "n"), rng)

    def _traced(self, z: Array) -> Array:
        value = self.log_density(z)
        if not isbox(value):  # its gradient would be 0 everywhere, and training would believe it
            raise ValueError(
                f"ln p of {self.name}: {UNTRACEABLE}; got values that autograd cannot follow to z"
            )
        return value

    def _by_differences(self, z: Array) -> tuple[Array, Array]:
        at = z.astype(float)  # a difference of float32 values would have two digits
        value, g = self.log_density(at), np.empty_like(at)
        for i in range(self.dim):
            (below, low), (above, high) = (self._beside(at, value, i, side) for side in (-1, 1))
            rise = np.subtract(above, below, out=np.zeros_like(value), where=value > -np.inf)
            g[:, i] = rise / np.maximum(high - low, np.finfo(float).tiny)  # 0 where both are z
        return value.astype(z.dtype, copy=False), g.astype(z.dtype, copy=False)

    def _beside(self, z: Array, value: Array, i: int, side: int) -> tuple[Array, Array]:
        """ln p~ a little beside z in coordinate i, and where; at an edge of the support, at z."""
        moved = z.copy()
        moved[:, i] += side * STEP * (1 + np.abs(z[:, i]))
        log_p = self.log_density(moved)
        inside = log_p > -np.inf
        return np.where(inside, log_p, value), np.where(inside, moved[:, i], z[:, i])

    def _checked(self, values: Any, z: Array) -> Array:
        if not hasattr(values, "dtype"):
            values = np.asarray(values, dtype=float)
        plain = untraced(values)
        if np.shape(plain) != (len(untraced(z)),):
            raise ValueError(
                f"ln p of {self.name}: expected one value a row, shape ({len(untraced(z))},), "
                f"got {describe(plain)}"
            )
        bad = np.isnan(plain) | (plain == np.inf)
        if bad.any():
            raise ValueError(
                f"ln p of {self.name}: expected finite values or -inf, got {int(bad.sum())} NaN or "
                f"inf (the first at index {int(np.argmax(bad))})"
            )
        # constants in a target are float64: float32 points get a float32 answer all the same
        dtype = untraced(z).dtype
        return values if plain.dtype == dtype else values.astype(dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim})"


def check_symmetric(matrix: Array, name: str) -> Array:
    """matrix, shape (d, d); ValueError unless it is symmetric up to rounding.

    An entry (i, j) is compared with the sizes of i and j on the diagonal.
    """
    away = np.abs(matrix - matrix.T)
    size = np.sqrt(np.abs(np.outer(np.diag(matrix), np.diag(matrix))))
    if not np.all(away <= 1e-10 * size):
        raise ValueError(f"{name}: expected a symmetric matrix, got one {away.max():.3g} off")
    return matrix
