r"""Planar stacks: blocks of layers for global parameters, layer by layer for one set per row."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nflib_min._arrays import Array
from nflib_min.fast.buffers import acquire, dot_rows, layers_first
from nflib_min.planar import Planar, invert_layer
from nflib_min.pullback import DTYPES, register

ROWS = 4096  # rows at a time when nothing is kept for a way back: the states stay in cache
BLOCK = 16  # layers that are resolved together
# for each dtype: the least |w|^2 to divide by, and the bounds between which nine factors multiply
LIMITS = {
    dtype: tuple(float(x) ** power for x, power in ((tiny, 0.5), (tiny, 1 / 9), (most, 1 / 9)))
    for dtype, tiny, most in ((d, np.finfo(d).tiny, np.finfo(d).max) for d in DTYPES)
}


def constrain(u: Array, w: Array, gain: float) -> tuple[Array, Array, Array, Callable]:
    r"""u_hat, c and 1 + c of `planar.constrain` for all K layers at once, and the way back.

    With a = w.u, D = m(a) - a and q = |w|^2: u_hat = u + w D / q and c = m(a). Given g_u_hat and
    g_c, s = g_u_hat . w / q is dF/dD, so dF/da = s (m' - 1) + g_c m' and dF/dq = -s D / q, with
    m' = 1 - e^-(1 + c), which is tiny where 1 + c is, and g_c then large.
    """
    a = np.einsum("kd...,kd...->k...", w, u)
    q = np.einsum("kd...,kd...->k...", w, w)
    least = LIMITS[q.dtype][0]
    over_q = (q > least) / np.maximum(q, least)
    low = np.minimum(a, 80)  # `planar.m` and `radial.softplus`, without autograd's call overhead
    c = np.log1p(np.expm1(low) * (gain / math.e) + (1 + gain - math.e) / math.e)
    c += a - low
    one_plus_c = np.logaddexp(0, a + math.log(gain))
    step = ((c - a) * over_q)[:, None]

    def pullback(g_u_hat: Array, g_c: Array) -> tuple[Array, Array]:
        s = np.einsum("kd...,kd...->k...", g_u_hat, w)
        s *= over_q
        minus_slope = np.expm1(-one_plus_c)
        g_a = -(g_c * minus_slope + s * (1 + minus_slope))[:, None]
        s *= 2
        g_w = g_u_hat - s[:, None] * w
        g_w *= step
        g_w += g_a * u
        return g_u_hat + g_a * w, g_w

    return u + step * w, c, one_plus_c, pullback


def determinant(c: Array, h: Array, one_plus_c: Array, out: Array | None = None) -> Array:
    """`planar.determinant` of all layers: 1 + c (1 - h^2) where c > 0, else (1 + c) + |c| h^2."""
    det = np.multiply(h, h, out=out)
    det -= (c > 0).astype(c.dtype)
    det *= -c
    det += np.minimum(one_plus_c, 1)
    return det


def log_of_product(det: Array, one_plus_c: Array) -> Array:
    """sum_k ln det_k over axis 0, with one logarithm for eight factors where that is safe.

    0 < min(1 + c, 1) <= det_k <= max(1 + c, 1), so eight factors stay within the eighth powers of
    these bounds; unless those are far inside the floating-point range, every factor gets its log.
    """
    low, high = one_plus_c.min(initial=1), one_plus_c.max(initial=1)
    _, least, most = LIMITS[det.dtype]
    if len(det) < 2 or not least < low <= high < most:
        return np.log(det).sum(axis=0)
    if len(det) <= 8:
        return np.log(np.multiply.reduce(det, axis=0))
    eights = len(det) // 8
    factors = det[: 8 * eights].reshape(eights, 8, det.shape[1])
    products = np.multiply.reduce(factors, axis=1)
    log_det = np.log(products, out=products).sum(axis=0)
    if 8 * eights < len(det):
        log_det += np.log(np.multiply.reduce(det[8 * eights :], axis=0))
    return log_det


def push_score(layers: list[tuple], s0: Array, weight: float | Array, dtype: np.dtype) -> Array:
    r"""The score after all layers (u_hat, w, c, h, det), from s_0 at z_0.

    $J = I + h' u w^\top$, so $J^{-\top} v = v - w\, h' (u^\top v) / \det$ by Sherman-Morrison, and
    $\nabla \ln\det = c h'' w / \det$ with $h'' = -2 h h'$: every change is along w,
    $s \leftarrow s + w\, (h' / \det)\, (2 c h / \det - u^\top s)$.
    """
    s = np.array(s0.T, dtype, order="C")
    for u, w, c, h, det in layers:
        along_w = weight * (2 * c) * h / det - dot_rows(u, s)
        along_w *= (1 - h * h) / det
        s += w * along_w
    return s.T


def layer_by_layer(
    u: Array, w: Array, b: Array, z: Array, H: Array, states: Array | None = None
) -> Array:
    """z_k = z_{k-1} + u_k h_k for all k, h_k into row k of H, and z_k into `states` if given."""
    push = np.empty_like(z)
    for k, h in enumerate(H):
        dot_rows(w[k], z, out=h)
        h += b[k]
        np.tanh(h, out=h)
        np.multiply(u[k], h, out=push)
        z = np.add(z, push, out=z if states is None else states[k + 1])
    return z


def forward(f: Planar, params: dict, z0: Array, log_det: bool) -> tuple[Array, Array | None]:
    """z_K and, if asked for, log_det of a planar stack, ROWS points at a time, no states kept."""
    per_row = params["b"].ndim == 2
    u, w, b = (layers_first(params[name], per_row) for name in ("u", "w", "b"))
    u, c, one_plus_c, _ = constrain(u, w, f.gain)
    zK, log_dets = np.empty_like(z0, order="F"), np.empty_like(z0[:, 0]) if log_det else None
    H = np.empty((len(c), min(ROWS, len(z0))), zK.dtype)
    for start in range(0, len(z0), ROWS):
        rows = slice(start, start + ROWS)
        of = rows if per_row else slice(None)
        z = z0[rows].T.copy()
        H = H[:, : z.shape[1]]
        zK[rows] = layer_by_layer(u[..., of], w[..., of], b[:, of], z, H).T
        if log_dets is not None:
            det = determinant(c[:, of], H, one_plus_c[:, of], out=H)
            log_dets[rows] = log_of_product(det, one_plus_c)
    return zK, log_dets


class Block:
    """The rows that the layers lo, lo + 1, ... of one block read and write, sliced once."""

    def __init__(self, lo: int, size: int, d: int, n: int, dtype: np.dtype, shared: tuple) -> None:
        self.layers, one_z = slice(lo, lo + size), 1 + d
        self.X = np.empty((one_z + size, n), dtype)  # 1, z where the block starts, h_1, h_2, ...
        self.X[0] = 1
        self.z, self.H = self.X[1:one_z], self.X[one_z:]
        self.E, self.S = shared[0][: size + d], shared[1][:size]  # e_1, e_2, ..., G; 1 - h^2
        self.A, self.B = np.empty((size, one_z + size), dtype), np.empty((size, size + d), dtype)
        self.below = np.tri(size, k=-1, dtype=dtype)
        self.diagonal = self.B.reshape(-1)[:: size + d + 1]
        self.forward = [
            (self.A[k, : one_z + k], self.X[: one_z + k], h) for k, h in enumerate(self.H)
        ]
        self.back = [(self.B[k, k:], self.E[k:], self.S[k], self.E[k]) for k in range(size)][::-1]


def make_blocks(K: int, d: int, n: int, dtype: np.dtype) -> tuple[Array, Array, list[Block]]:
    """What one sweep writes to: det (K, n), one row, and the blocks."""
    size = min(K, BLOCK)
    shared = np.empty((size + d, n), dtype), np.empty((size, n), dtype)
    blocks = [Block(lo, min(size, K - lo), d, n, dtype, shared) for lo in range(0, K, size)]
    return np.empty((K, n), dtype), np.empty(n, dtype), blocks


def sweep(
    f: Planar, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
) -> tuple[Array, Array, Callable, Array | None]:
    r"""A planar stack with its pullback.

    Forward, for k = 1..K: a_k = w_k.z_{k-1} + b_k, h_k = tanh(a_k), z_k = z_{k-1} + u_k h_k, and
    log_det = sum_k ln(1 + c_k s_k) with s_k = 1 - h_k^2, the slope of tanh.

    Back, with G = dF/dz_k, l = dF/dlog_det and e_k = dF/da_k:
        through log_det   dF/dc_k = l s_k / det_k,  dF/ds_k = l c_k / det_k,  ds_k/da_k = -2 h_k s_k
        through z_k       dF/du_k = G h_k,          dF/dh_k = u_k.G,          dh_k/da_k = s_k
        so                e_k = s_k (u_k.G - 2 l c_k h_k / det_k)
        and               dF/dw_k = e_k z_{k-1},  dF/db_k = e_k,  G <- G + w_k e_k.

    A layer sees the point only through w_k.z_{k-1}, so within a block of layers that starts at z
    and ends with gradient G no state is needed, since z_{k-1} = z + sum_{j<k} u_j h_j. With the
    rows X = (1, z, h_1, h_2, ...) and E = (e_1, e_2, ..., G) a layer is a product with the rows
    already there and a tanh, or with those to come and a multiplication:
        a_k = b_k 1 + w_k.z + sum_{j<k} (w_k.u_j) h_j
        e_k = s_k (-2 c_k (l h_k / det_k) + sum_{j>k} (u_k.w_j) e_j + u_k.G), row k of E holding
            l h_k / det_k until e_k takes its place
    The gradients are dots between rows of n numbers, which sum over the points:
        dF/dw_k = e_k.z + sum_{j<k} (e_k.h_j) u_j,  dF/du_k = h_k.G + sum_{j>k} (e_j.h_k) w_j
    With blocks of fixed size the cost stays O(K D) a point.
    """
    if params["b"].ndim == 2:
        return sweep_per_row(f, params, z0, s0, weight)
    u, w, b = params["u"], params["w"], params["b"]
    u, c, one_plus_c, constrain_pullback = constrain(u, w, f.gain)
    (K, d), n = u.shape, len(z0)
    lease = acquire(make_blocks, K, d, n, z0.dtype)
    dets, _, blocks = lease.buffers
    z = z0.T
    for block in blocks:
        at, A, H = block.layers, block.A, block.H
        u_at, w_at = u[at], w[at]
        A[:, 0] = b[at]
        A[:, 1 : 1 + d] = w_at
        A[:, 1 + d :] = w_at.dot(u_at.T)
        block.z[:] = z
        for weights, before, h in block.forward:
            weights.dot(before, out=h)
            np.tanh(h, out=h)
        z = u_at.T.dot(H)
        z += block.z
        determinant(c[at, None], H, one_plus_c[at, None], out=dets[at])
    log_det = log_of_product(dets, one_plus_c)
    sK = None
    if s0 is not None:
        H = [h for block in blocks for h in block.H]
        layers = list(zip(u[..., None], w[..., None], c, H, dets, strict=True))
        sK = push_score(layers, s0, weight, z0.dtype)

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        with lease.lock:  # the closure also keeps the lease, so that nobody else gets the buffers
            return back(g_zK, g_log_det)

    def back(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        dets, row, blocks = lease.buffers
        G, g = g_zK.T, {name: np.empty_like(params[name]) for name in "uwb"}
        g_c, minus_2c = np.empty(K, dets.dtype), -2 * c
        for block in reversed(blocks):
            at, size, H, S, B = block.layers, len(block.H), block.H, block.S, block.B
            u_at, w_at, E = u[at], w[at], block.E[:size]
            B[:, :size] = block.A[:, 1 + d :].T  # (k, j): u_k.w_j
            B[:, size:] = u_at
            block.diagonal[:] = minus_2c[at]
            np.multiply(H, H, out=S)
            np.subtract(1, S, out=S)
            np.divide(g_log_det, dets[at], out=E)
            np.einsum("kn,kn->k", E, S, out=g_c[at])
            E *= H
            block.E[size:] = G
            for weights, later, s, e in block.back:
                weights.dot(later, out=row)
                np.multiply(row, s, out=e)
            dots = E.dot(block.X.T)
            g["b"][at] = dots[:, 0]
            e_h = dots[:, 1 + d :]  # (k, j): e_k.h_j
            e_h *= block.below
            np.add(dots[:, 1 : 1 + d], e_h.dot(u_at), out=g["w"][at])
            np.add(H.dot(block.E[size:].T), e_h.T.dot(w_at), out=g["u"][at])
            G = w_at.T.dot(E)
            G += block.E[size:]
        g["u"], g_w = constrain_pullback(g["u"], g_c)
        g["w"] += g_w
        return g, G.T

    return z.T, log_det, pullback, sK


class States(NamedTuple):
    """A stack layer by layer, columns: parameters (K, d, n or 1), states, tanh, determinants."""

    u: Array  # u_hat
    w: Array
    c: Array
    Z: Array  # (K + 1, d, n)
    H: Array  # (K, n)
    det: Array
    constrain_pullback: Callable
    per_row: bool

    def push_score(self, s0: Array, weight: float | Array) -> Array:
        layers = list(zip(self.u, self.w, self.c, self.H, self.det, strict=True))
        return push_score(layers, s0, weight, self.H.dtype)

    def pullback(self, g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        """The way back of `sweep`, layer by layer from the last."""
        u, w, H, S = self.u, self.w, self.H, 1 - self.H * self.H
        E = -2 * (g_log_det / self.det) * self.c * H
        G, g_u = np.array(g_zK.T, H.dtype, order="C"), np.empty(self.Z[1:].shape, H.dtype)
        for k in range(len(H) - 1, -1, -1):
            np.multiply(G, H[k], out=g_u[k])
            E[k] += dot_rows(u[k], G)
            E[k] *= S[k]
            G += w[k] * E[k]
        return self.gradients(g_u, E, g_log_det), G.T

    def inverse_pullback(self, g_z0: Array, g_log_det: Array) -> tuple[dict, Array]:
        r"""The way back of the inverse, layer by layer from the first, by implicit functions.

        As in `Bijection.inverse_with_pullback`: the score of each layer, carried forward, is what
        its parameters' gradients are made of, with the sign turned.
        """
        u, w, H, S = self.u, self.w, self.H, 1 - self.H * self.H
        bend = 2 * (g_log_det / self.det) * self.c * H
        a, E = np.array(g_z0.T, H.dtype, order="C"), np.empty_like(H)
        g_u = np.empty(self.Z[1:].shape, H.dtype)
        for k in range(len(H)):
            a += w[k] * ((bend[k] - dot_rows(u[k], a)) * S[k] / self.det[k])
            np.multiply(a, H[k], out=g_u[k])
            E[k] = S[k] * (dot_rows(u[k], a) - bend[k])
        g = self.gradients(g_u, E, g_log_det)
        return {name: -x for name, x in g.items()}, a.T

    def gradients(self, g_u: Array, E: Array, g_log_det: Array) -> dict:
        """dF/d(u, w, b) from dF/du_hat and e_k = dF/d(w_k.z + b_k) of every point."""
        g_c = g_log_det / self.det * (1 - self.H * self.H)
        g_w = self.Z[:-1] * E[:, None]
        if not self.per_row:
            g_u, g_c, g_w, E = (g.sum(axis=-1, keepdims=True) for g in (g_u, g_c, g_w, E))
        g_u, g_w_by_u = self.constrain_pullback(g_u, g_c)
        g = {"u": g_u, "w": g_w + g_w_by_u, "b": E}
        if self.per_row:
            return {name: np.moveaxis(x, -1, 0) for name, x in g.items()}
        return {name: x[..., 0] for name, x in g.items()}


def sweep_per_row(
    f: Planar, params: dict, z0: Array, s0: Array | None, weight: float | Array
) -> tuple[Array, Array, Callable, Array | None]:
    """The same with one set of parameters a row, layer by layer: no products are shared there."""
    u, w, b = (layers_first(params[name], True) for name in ("u", "w", "b"))  # (K, d, n), (K, n)
    u, c, one_plus_c, constrain_pullback = constrain(u, w, f.gain)
    K, (n, d) = len(c), z0.shape
    Z, H = np.empty((K + 1, d, n), z0.dtype), np.empty((K, n), z0.dtype)
    Z[0] = z0.T
    layer_by_layer(u, w, b, Z[0], H, Z)
    det = determinant(c, H, one_plus_c)
    states = States(u, w, c, Z, H, det, constrain_pullback, True)
    sK = None if s0 is None else states.push_score(s0, weight)
    return Z[K].T.copy(order="K"), np.log(det).sum(axis=0), states.pullback, sK


def inverse(f: Planar, params: dict, zK: Array) -> tuple[Array, Array, Callable]:
    """The inverse with its pullback, from the states met on the way.

    A second forward pass from z_0 would meet other states where layers expand.
    """
    per_row = params["b"].ndim == 2
    u, w, b = (layers_first(params[name], per_row) for name in ("u", "w", "b"))
    u, c, one_plus_c, constrain_pullback = constrain(u, w, f.gain)
    K, (n, d) = len(c), zK.shape
    Z, H = np.empty((K + 1, d, n), zK.dtype), np.empty((K, n), zK.dtype)
    z, Z[K] = zK, zK.T
    for k in range(K - 1, -1, -1):
        layer = u[k].T, w[k].T, b[k], c[k], one_plus_c[k]
        z, H[k] = invert_layer(*layer, z)
        Z[k] = z.T
    det = determinant(c, H, one_plus_c)
    states = States(u, w, c, Z, H, det, constrain_pullback, per_row)
    return Z[0].T.copy(order="K"), -np.log(det).sum(axis=0), states.inverse_pullback


register(Planar, sweep, forward, inverse)
