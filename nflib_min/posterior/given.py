"""What the user hands in: a density, its gradient, its scale, names and starts, checked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nflib_min._arrays import Array, check_dim, check_points, check_rows, describe
from nflib_min.bijections import Bijection
from nflib_min.constraints import check_fixed
from nflib_min.targets import Target

CHUNK = 2000  # rows of a density at a time: a model with data makes (rows, data) arrays


class FiniteTarget(Target):
    """A target read so that NaN and infinities count as -inf: a place where no mass is.

    So do points that are not finite themselves; the gradient there is NaN.
    """

    def __init__(self, target: Target) -> None:
        vars(self).update(vars(target))

    def _checked(self, values: Any, z: Array) -> Array:
        values = values if hasattr(values, "dtype") else np.asarray(values, float)
        check_rows(values, len(z), f"ln p of {self.name}")
        return values

    def log_density_and_grad(self, z: Array) -> tuple[Array, Array]:
        at, inside = finite_rows(z)
        with np.errstate(all="ignore"):
            value, g = super().log_density_and_grad(at)
        finite = inside & np.isfinite(value)
        return np.where(finite, value, -np.inf), np.where(inside[:, None], g, np.nan)

    def __call__(self, z: Array) -> Array:
        """ln p~ in chunks of rows, NaN and infinities as -inf: (n, d) -> (n,)."""
        at, inside = finite_rows(z)
        with np.errstate(all="ignore"):
            values = in_chunks(self.log_density, at)
        return np.where(inside & np.isfinite(values), values, -np.inf)


def finite_rows(z: Array) -> tuple[Array, Array]:
    """z with another of its rows in place of each that is not finite, and which rows are."""
    inside = np.isfinite(z).all(axis=1)
    # always as many rows: a compiled density is compiled for their number
    return np.where(inside[:, None], z, z[np.argmax(inside)] if inside.any() else 0.0), inside


def in_chunks(f: Callable[[Array], Array], z: Array) -> Array:
    """f of all rows, CHUNK at a time."""
    return np.concatenate([f(z[i : i + CHUNK]) for i in range(0, len(z), CHUNK)])


def pulled_back(target: Target, f: Bijection) -> Target:
    r"""The density of v with z = f(v): $\ln \tilde p(f(v)) + \ln|\det \partial f / \partial v|$."""
    none = f.init(np.random.default_rng(0))
    target = FiniteTarget(target)

    def log_density(v: Array) -> Array:
        with np.errstate(all="ignore"):
            z, log_det = f.forward_and_log_det(none, v)
        return target(z) + log_det

    def gradient(v: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            z, log_det, pullback = f.forward_with_pullback(none, v)
            value, g = target.log_density_and_grad(z)
            return value + log_det, pullback(g, np.ones_like(value))[1]

    return Target(log_density, target.dim, gradient=gradient, names=target.names, name=target.name)


def on_all_of_space(
    log_density: Any, dim: int | None, gradient: Callable | str | None, transform: Any
) -> Target:
    """What the user hands in as a `Target` on R^d, from where `transform` goes to their scale."""
    if transform is None:
        return as_target(log_density, dim, gradient)
    if not isinstance(transform, Bijection):
        raise ValueError(
            f"transform: expected a map such as Positive(2), got {describe(transform)}"
        )
    check_fixed(transform, "transform")
    of_target = isinstance(log_density, Target)
    dim = transform.dim if dim is None and not of_target else dim
    target = as_target(log_density, dim, gradient)
    if transform.dim != target.dim:
        raise ValueError(f"transform: expected dim {target.dim}, got {transform.dim}")
    return pulled_back(target, transform)


def as_target(log_density: Any, dim: int | None, gradient: Any) -> Target:
    """What the user hands in as a `Target`."""
    if isinstance(log_density, Target):
        if gradient is not None or dim not in (None, log_density.dim):
            raise ValueError(
                f"log_density: expected a Target alone, which has its gradient and its dim "
                f"{log_density.dim}, got dim = {dim} and gradient = {gradient}"
            )
        return log_density
    if dim is None:
        raise ValueError("dim: expected a whole number beside a function log_density, got None")
    if gradient is None:
        return Target(log_density, dim, name="log_density")

    def value(z: Array) -> Array:  # a density may hand over arrays of JAX's or PyTorch's kind
        return np.asarray(log_density(z), z.dtype)

    def both(z: Array) -> tuple[Array, ...]:
        return tuple(np.asarray(part, z.dtype) for part in gradient(z))

    way = both if callable(gradient) else gradient
    return Target(value, dim, gradient=way, name="log_density")


def names_of(names: Sequence[str] | None, dim: int) -> list[str]:
    """d different names: the given ones, or z[0], z[1], ..."""
    names = [f"z[{i}]" for i in range(dim)] if names is None else [str(name) for name in names]
    if len(names) != dim or len(set(names)) != dim:
        raise ValueError(f"names: expected {dim} different ones, got {names}")
    return names


def starts_from(
    starts: int | Array, dim: int, rng: np.random.Generator, transform: Bijection | None
) -> Array:
    """The points of R^d where the search begins: the user's, or draws of N(0, 2^2 I)."""
    if not isinstance(starts, (int, np.integer)):
        starts = np.asarray(starts, dtype=float)
        check_points(starts, dim, "starts")
        if transform is not None:
            starts = transform.inverse(transform.init(rng), starts)
            check_points(starts, dim, "starts on unconstrained coordinates")
        return starts
    return 2 * rng.standard_normal((check_dim(starts, "starts"), dim))


def check_gradient(target: FiniteTarget, z: Array) -> None:
    """ValueError unless the gradient at the rows of z is that of the values."""
    once, twice = target(z), target(z)
    if not np.allclose(once, twice, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise ValueError(
            f"log_density: expected the same values at the same points, got {once[0]:.6g} and "
            f"{twice[0]:.6g}: a random density, of minibatches for instance, cannot be judged "
            "here; train on it with `fit`"
        )
    _, g = target.log_density_and_grad(z)
    for x, g_x in zip(z, g, strict=True):
        errors = []
        for step in (1e-3, 1e-5):  # the larger for rounding, the smaller for curvature
            moves = step * np.maximum(1, np.abs(x)) * np.eye(len(x))
            values = target(np.concatenate([x + moves, x - moves]))
            slope = (values[: len(x)] - values[len(x) :]) / (2 * np.diag(moves))
            errors.append(np.abs(slope - g_x))
        worst = np.argmax(np.minimum(*errors))
        # steps that leave the support give inf - inf: nothing is learned there
        if np.minimum(*errors)[worst] > 1e-3 * (1 + np.abs(g_x).max()):
            raise ValueError(
                f"gradient: expected that of log_density, got {g_x[worst]:.6g} for coordinate "
                f"{worst} at {np.array2string(x, precision=3)}, where differences differ by "
                f"{np.minimum(*errors)[worst]:.3g}"
            )
