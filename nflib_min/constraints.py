r"""Maps from R^d to the places where parameters live: a rate, a probability, a simplex, an order.

Each is a `Bijection` without parameters. Forward takes unconstrained coordinates z to the user's
scale x, with its log-determinant, so that a density of x becomes one of z:
$\ln p(z) = \ln p(x(z)) + \ln|\det \partial x / \partial z|$; `unconstrained` writes that.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim, untraced
from nflib_min._trees import tree_leaves
from nflib_min.bijections import Bijection
from nflib_min.radial import softplus


class Constraint(Bijection):
    r"""What the maps below share: no parameters, and an image that not every x is in.

    The inverse takes x on the border, where z is infinite, and refuses x beyond it with a
    ValueError.
    """

    image: str  # in words, for messages
    unbounded: str  # how z is called where x is called {}

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)

    def contains(self, x: Array) -> Array:
        """Which rows of x are in the image or on its border: (n, d) -> (n,) of booleans."""
        raise NotImplementedError

    def unconstrained_names(self, names: Sequence[str]) -> list[str]:
        """Names of the coordinates of z from those of x.

        >>> Positive(2).unconstrained_names(["rate", "scale"])
        ['log_rate', 'log_scale']
        """
        return [self.unbounded.format(name) for name in names]

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        self._check(params, zK, "zK")
        x = untraced(zK)
        outside = ~self.contains(x)
        if outside.any():
            i = int(np.argmax(outside))
            raise ValueError(f"zK of {self}: expected {self.image}, got {x[i]} in row {i}")
        with np.errstate(divide="ignore"):  # z = log 0 on the border
            return self.inverse_formula(params, zK)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dim})"


class Positive(Constraint):
    r"""$x = e^z > 0$ in each coordinate, $\ln|\det| = \sum_i z_i$: rates, scales, counts' means.

    >>> Positive(1).forward({}, np.array([[0.0], [1.0]])).round(3)
    array([[1.   ],
           [2.718]])

    Source: Rezende & Mohamed (2015), eq. (5), for the map of Stan's positive parameters.
    """

    image, unbounded = "positive numbers", "log_{}"

    def contains(self, x: Array) -> Array:
        return np.all(x >= 0, axis=1)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return anp.exp(z0), anp.sum(z0, axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z = anp.log(zK)
        return z, -anp.sum(z, axis=1)


class Interval(Constraint):
    r"""$x = a + (b - a)\, \sigma(z)$ in each coordinate: probabilities, correlations.

    $\ln|\det| = \sum_i [\ln(b - a) - \ln(1 + e^{-z_i}) - \ln(1 + e^{z_i})]$.

    Parameters
    ----------
    dim : d. low, high : a < b; ValueError otherwise.

    >>> Interval(1, -1.0, 1.0).forward({}, np.zeros((1, 1)))
    array([[0.]])

    Source: as `Positive`.
    """

    unbounded = "logit_{}"

    def __init__(self, dim: int, low: float = 0.0, high: float = 1.0) -> None:
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"expected finite low < high, got low = {low} and high = {high}")
        super().__init__(dim)
        self.low, self.high = float(low), float(high)
        self.image = f"numbers from {self.low} to {self.high}"

    def contains(self, x: Array) -> Array:
        return np.all((x >= self.low) & (x <= self.high), axis=1)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        width, below, above = self.high - self.low, softplus(-z0), softplus(z0)
        log_det = anp.sum(math.log(width) - below - above, axis=1)
        return self.low + width * anp.exp(-below), log_det

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        below, above = anp.log(zK - self.low), anp.log(self.high - zK)
        return below - above, anp.sum(np.log(self.high - self.low) - below - above, axis=1)

    def __repr__(self) -> str:
        return f"Interval({self.dim}, low={self.low}, high={self.high})"


class Simplex(Constraint):
    r"""The first d of d + 1 probabilities that sum to 1, by breaking a stick d times.

    With $v_i = \sigma(z_i - \ln(d + 1 - i))$ and the rest of the stick
    $r_i = \prod_{j \le i} (1 - v_j)$: $x_i = v_i\, r_{i-1}$, and
    $\ln|\det| = \sum_i [\ln v_i + \ln(1 - v_i) + \ln r_{i-1}]$. z = 0 is the uniform distribution.

    >>> Simplex(3).forward({}, np.zeros((1, 3)))  # the fourth is 1 minus their sum
    array([[0.25, 0.25, 0.25]])

    Source: as `Positive`; the shift is Stan's.
    """

    image, unbounded = "probabilities that sum to at most 1", "stick_{}"

    def contains(self, x: Array) -> Array:
        return np.all(x >= 0, axis=1) & (x.sum(axis=1) <= 1 + 4 * self.dim * np.finfo(x.dtype).eps)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        v = z0 - self._shift(z0)
        log_v, log_1_minus_v = -softplus(-v), -softplus(v)
        log_r = anp.cumsum(log_1_minus_v, axis=1)
        before = anp.concatenate([0 * log_r[:, :1], log_r[:, :-1]], axis=1)  # ln r_{i-1}
        return anp.exp(log_v + before), anp.sum(log_v + log_r, axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        left = anp.maximum(1 - anp.cumsum(zK, axis=1), 0)  # r_i
        log_x, log_left = anp.log(zK), anp.log(left)
        nothing = (untraced(zK) == 0) & (untraced(left) == 0)  # 0 of 0: any z_i gives this x
        v = anp.where(nothing, 0, log_x) - anp.where(nothing, 0, log_left)
        # ln v_i + ln(1 - v_i) + ln r_{i-1} is ln x_i + ln r_i - ln r_{i-1}, which telescopes
        return v + self._shift(zK), -anp.sum(log_x, axis=1) - log_left[:, -1]

    def _shift(self, z: Array) -> Array:
        return np.log(np.arange(self.dim, 0, -1, dtype=untraced(z).dtype))


class Ordered(Constraint):
    r"""$x_1 < x_2 < \dots < x_d$: $x_1 = z_1$, $x_i = x_{i-1} + e^{z_i}$; cut points, components.

    $\ln|\det| = \sum_{i > 1} z_i$.

    >>> Ordered(3).forward({}, np.zeros((1, 3)))
    array([[0., 1., 2.]])

    Source: as `Positive`.
    """

    image, unbounded = "numbers that do not fall", "log_step_{}"

    def contains(self, x: Array) -> Array:
        return np.all(x[:, 1:] >= x[:, :-1], axis=1)

    def unconstrained_names(self, names: Sequence[str]) -> list[str]:
        return [*names[:1], *super().unconstrained_names(names[1:])]

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        steps = anp.concatenate([z0[:, :1], anp.exp(z0[:, 1:])], axis=1)
        return anp.cumsum(steps, axis=1), anp.sum(z0[:, 1:], axis=1)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        z = anp.concatenate([zK[:, :1], anp.log(zK[:, 1:] - zK[:, :-1])], axis=1)
        return z, -anp.sum(z[:, 1:], axis=1)


class Free(Constraint):
    r"""Coordinates that need no constraint: $x = z$, log-det 0.

    >>> Free(2).forward({}, np.ones((1, 2)))
    array([[1., 1.]])

    Source: as `Positive`.
    """

    image, unbounded = "any numbers", "{}"

    def contains(self, x: Array) -> Array:
        return np.ones(len(x), bool)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return 1 * z0, 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return 1 * zK, 0 * zK[:, 0]


class Blocks(Bijection):
    r"""Maps side by side, each on coordinates of its own: log-determinants add up.

    Parameters
    ----------
    maps : the first takes the first coordinates, and so on; ValueError on one with parameters.

    >>> f = Blocks([Positive(1), Interval(1)])
    >>> f.forward({}, np.zeros((1, 2)))
    array([[1. , 0.5]])

    Source: Rezende & Mohamed (2015), eq. (5), for a Jacobian in blocks.
    """

    def __init__(self, maps: Sequence[Bijection]) -> None:
        self.maps = list(maps)
        for f in self.maps:
            check_fixed(f, "maps")
        ends = np.cumsum([f.dim for f in self.maps])
        self.dim = check_dim(int(ends[-1]) if len(ends) else 0)
        self.slices = [
            slice(int(end) - f.dim, int(end)) for f, end in zip(self.maps, ends, strict=True)
        ]

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return self._side_by_side([f.forward_and_log_det for f in self.maps], z0)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return self._side_by_side([f.inverse_and_log_det for f in self.maps], zK)

    def unconstrained_names(self, names: Sequence[str]) -> list[str]:
        """Names of the coordinates of z from those of x, map by map."""
        pairs = zip(self.maps, self.slices, strict=True)
        return [name for f, at in pairs for name in unconstrained_names(f, names[at])]

    def _side_by_side(self, ways: list[Callable], z: Array) -> tuple[Array, Array]:
        parts = [way({}, z[:, at]) for way, at in zip(ways, self.slices, strict=True)]
        return anp.concatenate([x for x, _ in parts], axis=1), sum(log_det for _, log_det in parts)

    def __repr__(self) -> str:
        return f"Blocks({self.maps})"


def check_fixed(f: Bijection, name: str) -> None:
    """ValueError unless the map has no parameters."""
    if tree_leaves(f.init(np.random.default_rng(0))):
        raise ValueError(f"{name}: expected maps without parameters, got {f}")


def unconstrained_names(f: Bijection, names: Sequence[str]) -> list[str]:
    """Names of the coordinates of z from those of x = f(z), whatever map f is.

    >>> unconstrained_names(Blocks([Free(1), Interval(1)]), ["slope", "share"])
    ['slope', 'logit_share']

    Source: this project's.
    """
    if isinstance(f, (Constraint, Blocks)):
        return f.unconstrained_names(names)
    return [f"unconstrained_{name}" for name in names]


def unconstrained(
    log_density: Callable[[Array], Array], transform: Bijection
) -> Callable[[Array], Array]:
    r"""$\ln p(z) = \ln p(x(z)) + \ln|\det \partial x / \partial z|$ from ln p(x), for `Target`.

    `fit_posterior` does it where it is given the transform.

    >>> log_density = unconstrained(lambda x: -x[:, 0], Positive(1))  # of an exponential variable
    >>> log_density(np.array([[0.0], [1.0]])).round(3)  # z - e^z, the density of its logarithm
    array([-1.   , -1.718])

    Source: Rezende & Mohamed (2015), eq. (5); Kucukelbir et al., ADVI (2017), section 2.3.
    """

    return partial(_log_density_of_z, log_density, transform)  # which pickle takes, too


def _log_density_of_z(log_density: Callable, transform: Bijection, z: Array) -> Array:
    x, log_det = transform.forward_and_log_det({}, z)
    return log_density(x) + log_det
