"""What every public function asks of its arguments: each error says what was expected and got."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from autograd.tracer import getval, isbox

Params = Any  # nested dicts, lists and tuples of arrays
if TYPE_CHECKING:
    Array = Any  # an array may be in autograd's box, which has no type of its own
else:
    Array = np.ndarray


def untraced(x: Any) -> Any:
    """The plain array under any depth of autograd boxes."""
    while isbox(x):
        x = getval(x)
    return x


def is_traced(tree: object) -> bool:
    """True if an autograd box is anywhere in the tree of parameters."""
    if isbox(tree):
        return True
    if isinstance(tree, dict):
        return any(map(is_traced, tree.values()))
    return isinstance(tree, (list, tuple)) and any(map(is_traced, tree))


def check_dim(dim: int | np.integer, name: str = "dim", least: int = 1) -> int:
    """Return dim if it is a whole number of at least `least`; ValueError otherwise."""
    if not isinstance(dim, (int, np.integer)) or isinstance(dim, bool) or dim < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {dim!r}")
    return int(dim)


def check_rng(rng: object) -> None:
    """ValueError unless rng is a numpy.random.Generator, or draws normal numbers like one."""
    if not hasattr(rng, "standard_normal") or isinstance(rng, np.random.RandomState):
        raise ValueError(f"rng: expected a numpy.random.Generator, got {describe(rng)}")


def all_finite(x: Array) -> bool:
    """True if no entry is NaN or inf.

    One product tells: the sum of squares is finite only if every entry is. Where it is not, large
    numbers may have overflowed it, without a warning in vdot, and every entry is looked at.
    """
    flat = np.asarray(x).ravel("K")
    return math.isfinite(np.vdot(flat, flat)) or bool(np.isfinite(x).all())


def check_finite(x: Array, name: str) -> None:
    """ValueError if x has a NaN or an inf; the message counts them and names the first row."""
    value = untraced(x)
    if not all_finite(value):
        rows = np.argwhere(~np.isfinite(value))
        raise ValueError(
            f"{name}: expected finite values, got {len(rows)} NaN or inf "
            f"(the first at index {tuple(map(int, rows[0]))})"
        )


def check_points(z: object, dim: int, name: str) -> None:
    """ValueError unless z is a finite floating array of shape (n, dim)."""
    value = untraced(z)
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] != dim:
        raise ValueError(f"{name}: expected an array of shape (n, {dim}), got {describe(value)}")
    if value.dtype.kind != "f":
        raise ValueError(f"{name}: expected floating point numbers, got dtype {value.dtype}")
    check_finite(value, name)


def check_rows(values: object, n: int, name: str) -> None:
    """ValueError unless values has shape (n,), one number a row."""
    value = untraced(values)
    if np.shape(value) != (n,):
        raise ValueError(f"{name}: expected one value a row, shape ({n},), got {describe(value)}")


def check_orthogonal(matrix: object, name: str) -> Array:
    """matrix, shape (..., d, d), as float64; ValueError unless Q Q^T = I to 1e-10."""
    Q = np.asarray(matrix, dtype=float)
    if Q.ndim < 2 or Q.shape[-1] != Q.shape[-2]:
        raise ValueError(f"{name}: expected shape (..., d, d), got {describe(Q)}")
    error = np.abs(Q @ np.swapaxes(Q, -1, -2) - np.eye(Q.shape[-1])).max(initial=0.0)
    if not error < 1e-10:
        raise ValueError(f"{name}: expected Q Q^T = I, got a largest deviation of {error:.3g}")
    return Q


def describe(value: Any) -> str:
    """A shape if there is one, else the type: what an error calls 'got'."""
    return f"shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def check_params(owner: object, params: object, shapes: Mapping[str, tuple], n: int) -> bool:
    """True if every leaf has a row axis (amortized), False if none has; ValueError otherwise.

    A leaf is a finite floating array, either global, with the shape given in `shapes`, or one set
    per row, with (n,) before.
    """
    plain = untraced(params)
    if not isinstance(plain, dict) or plain.keys() != shapes.keys():
        got = sorted(plain) if isinstance(plain, dict) else describe(plain)
        raise ValueError(f"params of {owner}: expected a dict with {sorted(shapes)}, got {got}")
    per_row = 0
    for position, (name, shape) in enumerate(shapes.items()):
        value = untraced(plain[name])
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            got = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else describe(value)
            raise ValueError(f"params[{name!r}] of {owner}: expected a floating array, got {got}")
        got_shape = value.shape
        per_row += got_shape != shape
        if (got_shape not in (shape, (n, *shape))) or per_row not in (0, position + 1):
            raise ValueError(
                f"params[{name!r}] of {owner}: expected shape {shape}, or {(n, *shape)} in every "
                f"leaf for one set of parameters per row, got {describe(value)}"
            )
        if not all_finite(value):
            check_finite(value, f"params[{name!r}] of {owner}")
    return per_row > 0
