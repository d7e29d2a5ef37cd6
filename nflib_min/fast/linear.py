"""Maps that are linear in z: their pullbacks, and scores that need at most one solve."""

from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array
from nflib_min.bijections import Affine, Orthogonal, Permute, TriangularAffine
from nflib_min.pullback import register


def sum_unless(per_row: bool, g: Array) -> Array:
    """The gradient of a global parameter, summed over rows; or a copy of each row's own."""
    return g.copy() if per_row else g.sum(axis=0)


def affine(
    f: Affine, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
) -> tuple[Array, Array, Callable, Array | None]:
    """z_K = mean + e^s z_0: ds moves z_K by e^s z_0 and log_det by 1; the score shrinks by e^s."""
    zK, log_det = f.forward_formula(params, z0)
    scale, per_row = np.exp(params["log_scale"]), params["mean"].ndim == 2

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        g_z0 = g_zK * scale
        g_s = g_z0 * z0 + g_log_det[:, None]
        return {"mean": sum_unless(per_row, g_zK), "log_scale": sum_unless(per_row, g_s)}, g_z0

    return zK, log_det, pullback, None if s0 is None else s0 / scale


def triangular(
    f: TriangularAffine,
    params: dict,
    z0: Array,
    s0: Array | None = None,
    weight: float | Array = 1.0,
) -> tuple[Array, Array, Callable, Array | None]:
    """z_K = mean + L z_0; the score is L^-T s_0."""
    zK, log_det = f.forward_formula(params, z0)
    L, per_row = f.matrix(params), params["mean"].ndim == 2

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        g_L = g_zK[:, :, None] * z0[:, None, :] if per_row else g_zK.T @ z0
        on_diagonal = np.diagonal(g_L, axis1=-2, axis2=-1) * np.exp(params["log_diag"])
        g_z0 = np.matmul(g_zK[:, None, :], L)[:, 0]
        return {
            "mean": sum_unless(per_row, g_zK),
            "log_diag": on_diagonal + (g_log_det[:, None] if per_row else g_log_det.sum()),
            "lower": np.tril(g_L, -1),
        }, g_z0

    sK = s0
    if s0 is not None:
        transposed = np.swapaxes(L, -1, -2)
        sK = (
            np.linalg.solve(transposed, s0[:, :, None])[:, :, 0]
            if per_row
            else np.linalg.solve(transposed, s0.T).T  # one solve for all points
        )
    return zK, log_det, pullback, sK


def fixed(
    f: Permute | Orthogonal,
    params: dict,
    z0: Array,
    s0: Array | None = None,
    weight: float | Array = 1.0,
) -> tuple[Array, Array, Callable, Array | None]:
    """An orthogonal J is its own J^-T: the score moves as the point does, gradients move back."""
    zK, log_det = f.forward_formula(params, z0)
    sK = None if s0 is None else f.forward_formula(params, s0)[0]
    return zK, log_det, lambda g_zK, g_log_det: ({}, f.inverse_formula({}, g_zK)[0]), sK


register(Affine, affine)
register(TriangularAffine, triangular)
register(Permute, fixed)
register(Orthogonal, fixed)
