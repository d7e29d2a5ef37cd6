"""Gradients carried back through a map: by autograd, or by a kernel that somebody wrote for speed.

A map is a formula, and autograd differentiates it. A kernel is a faster way to the same numbers;
it is registered from outside (`nflib_min.fast` does it), so that no formula knows of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.builtins import tuple as traced_tuple
from autograd.core import make_vjp
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.numpy.numpy_vjps import unbroadcast_f

from nflib_min._arrays import Array, Params, is_traced, untraced
from nflib_min._trees import tree_leaves, tree_unflatten

Pullback = Callable[[Array, Array], tuple[Params, Array]]


def pullback_by_autograd(
    forward_and_log_det: Callable, params: Params, z0: Array
) -> tuple[Array, Array, Pullback]:
    """Value and pullback of any traceable (params, z0) -> (zK, log_det).

    Where dtypes differ all are computed in the wider one, gradients as well.
    """
    leaves = [leaf for _, leaf in tree_leaves(params)]
    dtypes = {leaf.dtype for leaf in [z0, *leaves] if hasattr(leaf, "dtype")}
    if len(dtypes) > 1 and all(dtype.kind == "f" for dtype in dtypes):
        wide = np.result_type(*dtypes)
        params = tree_unflatten(params, (leaf.astype(wide) for leaf in leaves))
        z0 = z0.astype(wide)
    vjp, (zK, log_det) = make_vjp(lambda at: traced_tuple(forward_and_log_det(*at)), (params, z0))

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[Params, Array]:
        g_params, g_z0 = vjp((g_zK, g_log_det))
        wide = np.result_type(untraced(g_z0), untraced(g_zK))
        return g_params, g_z0 if g_z0.dtype == wide else g_z0.astype(wide)

    return zK, log_det, pullback


class Kernel(NamedTuple):
    """A fast way through one class of maps.

    sweep : (f, params, z0, s0, weight) -> (zK, log_det, pullback, sK), the results of
        `Bijection.forward_with_pullback` and `Bijection.forward_with_score`; sK is None where s0
        is, or where the map's score has no recursion of its own.
    forward : (f, params, z0, log_det) -> (zK, log_det), which keeps nothing for a way back; with
        log_det = False the second result may be None.
    inverse : (f, params, zK) -> (z0, log_det, pullback), where there is a way of its own.
    per_row : True if the kernel takes one set of parameters per row as well.
    """

    sweep: Callable[..., tuple[Array, Array, Pullback, Array | None]]
    forward: Callable[..., tuple[Array, Array | None]]
    inverse: Callable[..., tuple[Array, Array, Pullback]] | None
    per_row: bool


KERNELS: dict[type, Kernel] = {}
FOUND: dict[type, Kernel | None] = {}
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def register(
    kind: type,
    sweep: Callable,
    forward: Callable | None = None,
    inverse: Callable | None = None,
    per_row: bool = True,
) -> None:
    """Make a `Kernel` known for maps of a class; without `forward` the sweep does that work too."""
    forward = forward or (lambda f, params, z0, log_det: sweep(f, params, z0)[:2])
    KERNELS[kind] = Kernel(sweep, forward, inverse, per_row)
    FOUND.clear()


def kernel_of(kind: type) -> Kernel | None:
    """The kernel of a class, or None.

    A subclass may have a start (`init`) and a constructor of its own. If it overrides anything
    else, its map may be another one, and its parent's kernel is not for it.
    """
    if kind not in FOUND:
        FOUND[kind] = None
        for base in kind.__mro__:
            if base in KERNELS:
                FOUND[kind] = KERNELS[base]
                break
            if any(name != "init" and not name.startswith("__") for name in vars(base)):
                break
    return FOUND[kind]


@contextmanager
def without_kernels() -> Iterator[None]:
    """Within this block every map runs by its formula, and autograd differentiates it.

    It is for comparisons in one thread: a law that holds with kernels must hold without them.
    """
    kept = dict(KERNELS)
    KERNELS.clear()
    FOUND.clear()
    try:
        yield
    finally:
        KERNELS.update(kept)
        FOUND.clear()


@primitive
def _custom(z, *leaves, run, plain, names, tape):
    first, second, pullback = run(dict(zip(names, leaves, strict=True)), z)
    tape.append(pullback)
    return first, second


def _custom_vjp(argnums, answer, args, kwargs):
    plain, names, tape = kwargs["plain"], kwargs["names"], kwargs["tape"]

    def plain_vjp(g: tuple) -> list:
        def formula(at: tuple) -> Any:
            return traced_tuple(plain(dict(zip(names, at[1:], strict=True)), at[0]))

        g_args = make_vjp(formula, args)[0](g)
        return [g_args[i] for i in argnums]

    if is_traced(args):  # an outer derivative is being taken: only the plain formula knows it
        return plain_vjp
    pullback = tape[-1]

    def vjp(g: tuple) -> list:
        if is_traced(g):
            return plain_vjp(g)
        g_params, g_z = pullback(*g)
        g_args = (g_z, *(g_params[name] for name in names))
        return [g_args[i].astype(args[i].dtype, copy=False) for i in argnums]

    return vjp


defvjp_argnums(_custom, _custom_vjp)


def call_with_custom_pullback(
    run: Callable, plain: Callable, params: dict, z: Array
) -> tuple[Array, Array]:
    """Call a map inside autograd: first derivatives by run's own pullback, higher ones by `plain`.

    run : (params, z) -> (first, second, pullback). plain : (params, z) -> (first, second), the same
    map as a formula that autograd can trace.
    """
    names = list(params)
    leaves = [params[name] for name in names]
    both = _custom(z, *leaves, run=run, plain=plain, names=names, tape=[])
    return both[0], both[1]


@primitive
def where(condition: Array, x: Array, y: Array) -> Array:
    """numpy.where for autograd, with gradients in the dtype of x and y (autograd's are float64)."""
    return np.where(condition, x, y)


defvjp(
    where,
    None,
    lambda ans, c, x, y: unbroadcast_f(x, lambda g: where(c, g, _zero(g))),
    lambda ans, c, x, y: unbroadcast_f(y, lambda g: where(c, _zero(g), g)),
)


def _zero(g: Array) -> Array:
    return np.zeros((), anp.metadata(g)[2])
