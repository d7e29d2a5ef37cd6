r"""Whole stacks of layers, forward and in reverse: the one file of the library written for speed.

A training step needs the gradient of a scalar F with respect to every parameter. Tracing each
operation costs more than computing it, so the sweep back through the layers is written out here,
once per kind of stack, and proved in the tests against autograd's gradient of the plain formula.

Inside a sweep points are columns, (d, n), so that one coordinate is one contiguous row of memory,
and G stands for dF/dz_k as the sweep passes layer k. Nothing of this layout leaks out: arguments
and results are (n, d) and (n,), and what a call returns belongs to the
caller and never changes later. Parameters are global, (K, ...), or one set per row, (n, K, ...).
"""

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
ROWS = 4096  # rows at a time when nothing is kept for a way back: the states stay in cache


def layers_first(x: Array, per_row: bool) -> Array:
    """(K, ...) to (K, ..., 1), or (n, K, ...) to (K, ..., n): ready to meet columns of points."""
    return np.ascontiguousarray(np.moveaxis(x, 0, -1)) if per_row else x[..., None]


def rows_first(g: Array, per_row: bool) -> Array:
    """The way back of `layers_first`; a global parameter has gathered the sum over rows."""
    return np.moveaxis(g, -1, 0) if per_row else g


# ------------------------------------------------------------------------------------ buffers
class _Lease:
    """Buffers in use; they go back to the shelf when the last pullback that reads them is gone."""

    def __init__(self, buffers: object, shelf: list) -> None:
        self.buffers, self.shelf = buffers, shelf

    def __del__(self) -> None:
        self.shelf.append(self.buffers)


SHELVES: dict[tuple, list] = {}
SHAPES_KEPT = 8  # training uses one shape, or one for each of a few flows; more would only hoard


def _lend(make: Callable, *shape: object) -> _Lease:
    """make(*shape), or what an earlier call made of the same shape and nobody holds any more."""
    shelf = SHELVES.setdefault((make, *shape), [])
    while len(SHELVES) > SHAPES_KEPT:
        SHELVES.pop(next(iter(SHELVES)), None)
    try:
        return _Lease(shelf.pop(), shelf)
    except IndexError:
        return _Lease(make(*shape), shelf)


# ------------------------------------------------------------------------------------- planar
SHIFT = math.log(math.e - 1)  # softplus(SHIFT) = 1, so that m(0) = 0
# by dtype: the least |w|^2 to divide by, and the factors between which nine of them multiply safely
LIMITS = {
    info.dtype: (float(info.tiny) ** 0.5, float(info.tiny) ** (1 / 9), float(info.max) ** (1 / 9))
    for info in map(np.finfo, (np.float32, np.float64))
}


def m_shifted(a: Array) -> tuple[Array, Array]:
    """c = m(a) of `planar.m` and 1 + c; the slope of both is the sigmoid, 1 - e^-(1 + c).

    c = ln(1 + p (e^a - 1)) with p = 1 - 1/e; what a has above 80 is added outside, where
    ln(1 + p (e^a - 1)) = a + ln p to rounding and e^a would leave float32.
    """
    low = np.minimum(a, 80)
    c = np.log1p((1 - 1 / math.e) * np.expm1(low))
    c += a - low
    return c, np.logaddexp(0, a + SHIFT)


def m_printed(a: Array) -> tuple[Array, Array]:
    """c = m(a) of `planar.m_printed` and 1 + c; the slope is the same function of 1 + c."""
    softplus = np.logaddexp(0, a)
    return softplus - 1, softplus


def constrain(u: Array, w: Array, m: Callable) -> tuple[Array, Array, Array, Callable]:
    r"""u_hat, c and 1 + c of `planar.constrain` for all K layers at once, and the way back.

    With a = w.u, D = m(a) - a and q = |w|^2: u_hat = u + w D / q and c = m(a). Given g_u_hat and
    g_c, s = g_u_hat . w / q is dF/dD, so dF/da = s (m' - 1) + g_c m' and dF/dq = -s D / q; and
    1 - m' = e^-(1 + c) makes dF/da = g_c - (s + g_c) e^-(1 + c).
    """
    a = np.einsum("kd...,kd...->k...", w, u)
    q = np.einsum("kd...,kd...->k...", w, w)
    least = LIMITS[q.dtype][0]
    over_q = (q > least) / np.maximum(q, least)
    c, c_plus_1 = m(a)
    step = ((c - a) * over_q)[:, None]

    def pullback(g_u_hat: Array, g_c: Array) -> tuple[Array, Array]:
        s = np.einsum("kd...,kd...->k...", g_u_hat, w)
        s *= over_q
        g_a = (g_c - (s + g_c) * np.exp(-c_plus_1))[:, None]
        s *= 2
        g_w = g_u_hat - s[:, None] * w
        g_w *= step
        g_w += g_a * u
        return g_u_hat + g_a * w, g_w

    return u + step * w, c, c_plus_1, pullback


def planar_forward(
    m: Callable, params: dict, z0: Array, per_row: bool, log_det: bool = True
) -> tuple[Array, Array | None]:
    """z_K and, if asked for, log_det of a planar stack, ROWS points at a time, no states kept."""
    u, w, b = (layers_first(params[name], per_row) for name in ("u", "w", "b"))
    u, c, c_plus_1, _ = constrain(u, w, m)
    zK, log_dets = np.empty_like(z0, order="F"), np.empty_like(z0[:, 0]) if log_det else None
    size = min(ROWS, len(z0))
    H, push = np.empty((len(c), size), zK.dtype), np.empty((z0.shape[1], size), zK.dtype)
    for start in range(0, len(z0), ROWS):
        rows = slice(start, start + ROWS)
        of = rows if per_row else slice(None)
        z = z0[rows].T.copy()
        H, push = H[:, : z.shape[1]], push[:, : z.shape[1]]
        for k, h in enumerate(H):
            if per_row:
                _dot_rows(w[k, :, of], z, out=h)
            else:
                np.dot(w[k, :, 0], z, out=h)
            h += b[k, of]
            np.tanh(h, out=h)
            np.multiply(u[k, :, of], h, out=push)
            z += push
        zK[rows] = z.T
        if log_det:
            det = determinant(H, c[:, of], c_plus_1[:, of], out=H)
            log_dets[rows] = log_of_product(det, c_plus_1)
    return zK, log_dets


BLOCK = 16  # layers that are resolved together


class _PlanarBlock:
    """The rows that the layers lo, lo + 1, ... of one block read and write, cut once."""

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


def _planar_blocks(K: int, d: int, n: int, dtype: np.dtype) -> tuple[Array, Array, list]:
    """What one planar sweep writes to: det (K, n), one row, and the blocks."""
    size = min(K, BLOCK)
    shared = np.empty((size + d, n), dtype), np.empty((size, n), dtype)
    blocks = [_PlanarBlock(lo, min(size, K - lo), d, n, dtype, shared) for lo in range(0, K, size)]
    return np.empty((K, n), dtype), np.empty(n, dtype), blocks


def planar(m: Callable, params: dict, z0: Array) -> tuple[Array, Array, Callable]:
    r"""A planar stack with global parameters, and its pullback.

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
    u, w, b = params["u"], params["w"], params["b"]
    u, c, c_plus_1, constrain_pullback = constrain(u, w, m)
    (K, d), n = u.shape, len(z0)
    lease = _lend(_planar_blocks, K, d, n, np.result_type(u, z0))
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
        determinant(H, c[at, None], c_plus_1[at, None], out=dets[at])
    log_det = log_of_product(dets, c_plus_1)

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        dets, row, blocks = lease.buffers  # and so they stay ours as long as this function lives
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

    return z.T, log_det, pullback


def planar_per_row(
    m: Callable, params: dict, z0: Array, s0: Array | None = None
) -> tuple[Array, Array, Callable, Array | None]:
    r"""The same with one set of parameters a row, layer by layer: no products are shared there.

    If the score s_0 at z_0 is given, the score at z_K comes last: by Sherman-Morrison,
    s <- s + w_k (h'_k / det_k) (2 c_k h_k / det_k - u_k.s), as `scores.push_score` has it.
    """
    u, w, b = (layers_first(params[name], True) for name in ("u", "w", "b"))  # (K, d, n), (K, n)
    u, c, c_plus_1, constrain_pullback = constrain(u, w, m)
    K, (n, d) = len(c), z0.shape
    Z, H = np.empty((K + 1, d, n), np.result_type(u, z0)), np.empty((K, n), np.result_type(u, z0))
    Z[0] = z0.T
    for k in range(K):
        h = _dot_rows(w[k], Z[k], out=H[k])
        h += b[k]
        np.tanh(h, out=h)
        np.multiply(u[k], h, out=Z[k + 1])
        Z[k + 1] += Z[k]
    det, sK = determinant(H, c, c_plus_1), None
    if s0 is not None:
        sK = np.array(s0.T, H.dtype, order="C")
        bend, slope = 2 * c * H / det, (1 - H * H) / det
        for k in range(K):
            along_w = bend[k] - _dot_rows(u[k], sK, out=None)
            along_w *= slope[k]
            sK += w[k] * along_w
        sK = sK.T

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        S, l_det = 1 - H * H, g_log_det / det
        E = -2 * l_det * c * H
        G, g_u = np.array(g_zK.T, H.dtype, order="C"), np.empty_like(u)
        for k in range(K - 1, -1, -1):
            np.multiply(G, H[k], out=g_u[k])
            E[k] += _dot_rows(u[k], G, out=None)
            E[k] *= S[k]
            G += w[k] * E[k]
        g_u, g_w = constrain_pullback(g_u, l_det * S)
        g_w += Z[:-1] * E[:, None]
        return {name: np.moveaxis(g, -1, 0) for name, g in (("u", g_u), ("w", g_w), ("b", E))}, G.T

    return Z[K].T.copy(order="K"), np.log(det).sum(axis=0), pullback, sK


def _dot_rows(v: Array, z: Array, out: Array | None) -> Array:
    """v.z column by column, (d, n) and (d, n) to (n,): each point has a v of its own."""
    return np.einsum("dn,dn->n", v, z, out=out)


def determinant(h: Array, c: Array, c_plus_1: Array, out: Array | None = None) -> Array:
    """`planar.determinant`: 1 + c (1 - h^2) where c > 0, else (1 + c) + |c| h^2; no term < 0."""
    det = np.multiply(h, h, out=out)
    det -= (c > 0).astype(c.dtype)
    det *= -c
    det += np.minimum(c_plus_1, 1)
    return det


def log_of_product(det: Array, c_plus_1: Array) -> Array:
    """sum_k ln det_k over axis 0, with one logarithm for eight factors where that is safe.

    0 < min(1 + c, 1) <= det_k <= max(1 + c, 1), so eight factors stay within the eighth powers of
    these bounds; unless those are far inside the floating-point range, every factor gets its log.
    """
    low, high = c_plus_1.min(initial=1), c_plus_1.max(initial=1)
    _, least, most = LIMITS[det.dtype]
    if len(det) < 2 or not least < low <= high < most:
        return np.log(det).sum(axis=0)
    if len(det) <= 8:
        return np.log(np.multiply.reduce(det, axis=0))
    eights = len(det) // 8 * 8
    products = np.multiply.reduce(det[:eights].reshape(-1, 8, det.shape[1]), axis=1)
    log_det = np.log(products, out=products).sum(axis=0)
    if eights < len(det):
        log_det += np.log(np.multiply.reduce(det[eights:], axis=0))
    return log_det


# ------------------------------------------------------------------------------------- radial
class _RadialBuffers:
    """What one radial sweep writes to."""

    def __init__(self, K: int, d: int, n: int, dtype: np.dtype) -> None:
        self.X, self.R, self.H = np.empty((K, d, n), dtype), *np.empty((2, K, n), dtype)
        self.A_r, self.A_s = np.empty((2, K, n), dtype)
        self.z, self.push = np.empty((2, d, n), dtype)
        self.p, self.q = np.empty((2, n), dtype)


def radial(params: dict, z0: Array, per_row: bool) -> tuple[Array, Array, Callable]:
    r"""A radial stack with its pullback.

    Forward, for k = 1..K, with x = z_{k-1} - z_ref, r = |x|, s = softplus(beta) = alpha + beta_hat,
    h = 1 / (alpha + r) and q = (r + s) h: z_k = z_ref + q x, and log_det gathers
    (d - 1) ln q + ln D with D = (r^2 + 2 alpha r + alpha s) h^2.

    Back, with G = dF/dz_k, l = dF/dlog_det, p = x.G and b = s - alpha = beta_hat:
        dF/ds = p h + l h [(d-1) / q + alpha h / D]
        dF/dr = -p b h^2 - l b h^2 [(d-1) / q + 2 alpha h / D]
        alpha dF/dalpha = -r dF/dr - s dF/ds, because q and D do not change when r, s and alpha are
        scaled together (Euler's theorem for functions of degree 0)
        G <- q G + x (dF/dr) / r, and dF/dz_ref is what G lost, since z_k - z_{k-1} depends on x.
    """
    z_ref, log_alpha, beta = (
        layers_first(params[name], per_row) for name in ("z_ref", "log_alpha", "beta")
    )
    alpha, s = np.exp(log_alpha), np.logaddexp(0, beta)
    b = s - alpha
    K, (n, d) = len(alpha), z0.shape
    dtype = np.result_type(z_ref, z0)
    lease = _lend(_RadialBuffers, K, d, n, dtype)
    X, R, H = lease.buffers.X, lease.buffers.R, lease.buffers.H
    z, q = lease.buffers.z, lease.buffers.q
    least = np.finfo(dtype).tiny ** 0.5  # at the centre x = 0, and x / r is to be 0 as well
    z[:] = z0.T
    for k, (x, r, h) in enumerate(zip(X, R, H, strict=True)):
        np.subtract(z, z_ref[k], out=x)
        np.einsum("dn,dn->n", x, x, out=r)
        np.sqrt(r, out=r)
        np.maximum(r, least, out=r)
        np.add(r, alpha[k], out=h)
        np.divide(1, h, out=h)
        np.add(r, s[k], out=q)
        q *= h
        np.multiply(x, q, out=z)
        z += z_ref[k]

    def factors() -> tuple[Array, Array]:
        """q and D of all layers, in A_s and A_r."""
        q_all, D = lease.buffers.A_s, lease.buffers.A_r
        np.add(R, 2 * alpha, out=D)
        D *= R
        D += alpha * s
        D *= H
        D *= H
        np.add(R, s, out=q_all)
        q_all *= H
        return q_all, D

    q_all, D = factors()
    log_det = np.log(D, out=D).sum(axis=0) + (d - 1) * np.log(q_all, out=q_all).sum(axis=0)

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        p, q, push = lease.buffers.p, lease.buffers.q, lease.buffers.push
        A_s, A_r = factors()
        np.divide(H, A_r, out=A_r)
        A_r *= alpha  # alpha h / D
        np.divide(d - 1, A_s, out=A_s)
        A_s += A_r  # (d-1) / q + alpha h / D
        A_r += A_s
        A_s *= H
        A_s *= g_log_det
        for factor in (H, H, -b, g_log_det):
            A_r *= factor
        G = np.array(g_zK.T, dtype, order="C")
        g_z_ref = np.empty((K, d, n) if per_row else (K, d), dtype)
        G_sum = G.sum(axis=1)
        for k in range(K - 1, -1, -1):
            x, r, h = X[k], R[k], H[k]
            np.einsum("dn,dn->n", x, G, out=p)
            p *= h
            A_s[k] += p
            p *= h
            p *= b[k]
            A_r[k] -= p
            if per_row:
                g_z_ref[k] = G
            np.add(r, s[k], out=q)
            q *= h
            G *= q
            np.divide(A_r[k], r, out=p)
            np.multiply(x, p, out=push)
            G += push
            if per_row:
                g_z_ref[k] -= G
            else:
                G_before, G_sum = G_sum, G.sum(axis=1)
                np.subtract(G_before, G_sum, out=g_z_ref[k])
        g_beta = A_s * np.exp(-np.logaddexp(0, -beta))
        A_r *= R
        A_r += s * A_s
        g_log_alpha = -A_r
        if not per_row:
            g_log_alpha, g_beta = g_log_alpha.sum(axis=1), g_beta.sum(axis=1)
        g_params = {"z_ref": g_z_ref, "log_alpha": g_log_alpha, "beta": g_beta}
        return {name: rows_first(g, per_row) for name, g in g_params.items()}, G.T

    return z.T.copy(order="K"), log_det, pullback


# ----------------------------------------------------------------------------------- coupling
class _CouplingLayer:
    """The rows that one coupling layer keeps for the way back, cut once; a row of ones is bias."""

    def __init__(self, z: Array, z_next: Array, s: Array, split: int, hidden: tuple) -> None:
        self.z, self.z_next, self.B = z, z_next, z[split + 1 :]  # z = A, 1, B
        self.x = [z[: split + 1], *(np.ones((size + 1, z.shape[1]), z.dtype) for size in hidden)]
        self.H, self.s = [x[:-1] for x in self.x[1:]], s
        self.T, self.scale, self.grown = np.empty((3, *s.shape), z.dtype)  # tanh(a / 2), e^s, e^s B


def _coupling_buffers(
    K: int, split: int, moved: int, hidden: tuple, n: int, dtype: np.dtype
) -> tuple:
    """What one coupling sweep writes to: states of all layers, layers, and rows for g."""
    Z, S = np.ones((K + 1, split + 1 + moved, n), dtype), np.empty((K, moved, n), dtype)
    layers = [_CouplingLayer(*at, split, hidden) for at in zip(Z, Z[1:], S, strict=False)]
    g, work = np.empty((2 * moved, n), dtype), np.empty((moved, n), dtype)
    rows = [tuple(np.empty((2, size, n), dtype)) for size in hidden]
    return Z, S, layers, (g, g[:moved], g[moved:], work), rows


def with_ones(mixing: Array, split: int) -> Array:
    """Q for the rows (A, 1, B): the row of ones stays where it is."""
    K, d, _ = mixing.shape
    rows = np.arange(d) + (np.arange(d) >= split)
    wide = np.zeros((K, d + 1, d + 1))
    wide[:, split, split] = 1
    wide[:, rows[:, None], rows] = mixing
    return wide


def times_one_minus_square(g: Array, h: Array, work: Array) -> None:
    """g <- g (1 - h^2), the way back through h = tanh, as g - h (h g): no constant to spread."""
    np.multiply(g, h, out=work)
    np.multiply(work, h, out=work)
    np.subtract(g, work, out=g)


def coupling(params: dict, z0: Array, affine: bool, mixing: Array) -> tuple[Array, Array, Callable]:
    r"""A stack of coupling layers, global parameters, with its pullback.

    Forward, for k = 1..K, columns (d, n), z = (A, B): H_1 = tanh(W_0^T A + b_0), H_2 = tanh(W_1^T
    H_1 + b_1), ..., (t, a) = W_L^T H_L + b_L, T = tanh(a / 2), s = 2 T, z_k = Q (A, e^s B + t), and
    log_det gathers the sum of s over its rows. Additive layers have no a, and e^s = 1. A row of
    ones below A and below every H_i makes b_i one more row of W_i; `mixing` is Q `with_ones`.

    Back, with G = Q^T dF/dz_k = (G_A, G_B) and l = dF/dlog_det:
        dF/dt = G_B,  dF/ds = G_B e^s B + l,  dF/da = (1 - T^2) dF/ds  (as ds/da = 1 - T^2)
        through the network, from g = dF/d(t, a): dF/dW_i = H_i g^T, dF/db_i = sum g, and
        g <- (1 - H_i^2) (W_i g), down to i = 0, where H_0 = A and no tanh stands between
        G <- (G_A + W_0 g, e^s G_B).
    """
    depth = len(params) // 2
    W, b = ([params[f"{p}{i}"] for i in range(depth)] for p in "Wb")
    (K, split, _), n, hidden = W[0].shape, len(z0), tuple(w.shape[2] for w in W[:-1])
    moved, dtype = z0.shape[1] - split, np.result_type(W[0], z0)
    lease = _lend(_coupling_buffers, K, split, moved, hidden, n, dtype)
    Z, S, layers, _, _ = lease.buffers
    Wb = [np.concatenate([w, v[:, None]], axis=1).swapaxes(1, 2) for w, v in zip(W, b, strict=True)]
    Z[0, :split], Z[0, split + 1 :] = z0.T[:split], z0.T[split:]
    if affine:
        Wb[-1][:, moved:] *= 0.5  # a / 2
    for k, layer in enumerate(layers):
        for i, h in enumerate(layer.H):
            np.tanh(Wb[i][k].dot(layer.x[i], out=h), out=h)
        out = Wb[-1][k].dot(layer.x[-1])
        if affine:
            T = np.tanh(out[moved:], out=layer.T)
            np.add(T, T, out=layer.s)
            np.exp(layer.s, out=layer.scale)
            np.multiply(layer.scale, layer.B, out=layer.grown)
            np.add(layer.grown, out[:moved], out=layer.B)
        else:
            np.add(layer.B, out, out=layer.B)
        mixing[k].dot(layer.z, out=layer.z_next)
    log_det = S.reshape(K * moved, n).sum(axis=0) if affine else np.zeros(n, dtype)

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        _, _, layers, (g_out, g_t, g_a, work_a), rows = lease.buffers
        g_Wb = [np.empty((K, w.shape[1] + 1, w.shape[2]), dtype) for w in W]
        G = np.zeros_like(Z[K])
        G[:split], G[split + 1 :] = g_zK.T[:split], g_zK.T[split:]
        for k in range(K - 1, -1, -1):
            layer, G = layers[k], mixing[k].T.dot(G)
            g = G_B = G[split + 1 :]
            if affine:
                g, g_t[:] = g_out, G_B
                np.multiply(G_B, layer.grown, out=g_a)
                np.add(g_a, g_log_det, out=g_a)
                times_one_minus_square(g_a, layer.T, work_a)
                np.multiply(G_B, layer.scale, out=G_B)
            for i in range(depth - 1, 0, -1):
                layer.x[i].dot(g.T, out=g_Wb[i][k])
                g_h, work = rows[i - 1]
                g = W[i][k].dot(g, out=g_h)
                times_one_minus_square(g, layer.H[i - 1], work)
            layer.x[0].dot(g.T, out=g_Wb[0][k])
            G[:split] += W[0][k].dot(g)
        g_params = {}
        for i, g in enumerate(g_Wb):
            g_params |= {f"W{i}": g[:, :-1], f"b{i}": g[:, -1]}
        return g_params, np.concatenate([G[:split], G[split + 1 :]]).T

    return np.concatenate([Z[K, :split], Z[K, split + 1 :]]).T, log_det, pullback


# ----------------------------------------------------------------------------------------- ODE
def ode(
    params: dict, z0: Array, start: float, end: float, steps: int
) -> tuple[Array, Array, Callable]:
    r"""The RK4 solution of `continuous.ODEFlow` from t = start to t = end, with its pullback.

    Forward, at each of the four stages of a step, at its point y and time t, columns (d, n):
        H = tanh(w y + b + a t), f = u^T H, tr = sum_m gamma_m (1 - H_m^2), gamma_m = w_m.u_m

    Back through one stage, with g_f = dF/df, g_tr = dF/dtr and E = dF/d(w y + b + a t):
        E = (1 - H^2) (u g_f - 2 gamma H g_tr)
        dF/dy = w^T E, dF/dw = E y^T, dF/db = sum E, dF/da = t sum E, dF/du = H g_f^T
        dF/dgamma = sum (1 - H^2) g_tr, which reaches w as u dF/dgamma and u as w dF/dgamma
    and back through z + dt/6 (f1 + 2 f2 + 2 f3 + f4), stage by stage from the last: a stage's g_f
    is its weight times G, plus what the next stage's dF/dy sends through y_next = z + c dt f.
    As dt goes to 0 the sweep becomes the adjoint equation dG/dt = -(df/dz)^T G - l d(tr)/dz,
    with l = dF/dlog_det, solved from the end back to the start.
    """
    u, w, b, a = (params[name] for name in ("u", "w", "b", "a"))
    gamma = np.einsum("md,md->m", w, u)
    dt = (end - start) / steps
    weights, reach = (dt / 6, dt / 3, dt / 3, dt / 6), (0.0, dt / 2, dt / 2, dt)
    z, stages = np.array(z0.T, np.result_type(u, z0), order="C"), []
    squares = np.zeros(z0.shape[0], z.dtype)  # integral of sum_m gamma_m H_m^2
    for i in range(steps):
        z_next, f = z.copy(), None
        for weight, c in zip(weights, reach, strict=True):
            t = start + i * dt + c
            y = z if f is None else z + c * f
            H = w @ y
            H += (b + a * t)[:, None]
            np.tanh(H, out=H)
            f = u.T @ H
            z_next += weight * f
            squares += weight * (gamma @ (H * H))
            stages.append((y, H, t))
        z = z_next
    log_det = (end - start) * gamma.sum() - squares

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        g = {name: np.zeros_like(params[name]) for name in ("u", "w", "b", "a")}
        g_gamma = np.zeros_like(gamma)
        G = np.array(g_zK.T, z.dtype, order="C")
        for i in reversed(range(steps)):
            g_y, g_z = None, G.copy()
            for stage in (3, 2, 1, 0):
                y, H, t = stages[4 * i + stage]
                g_f = weights[stage] * G
                if g_y is not None:
                    g_f += reach[stage + 1] * g_y
                g_tr = weights[stage] * g_log_det
                S = 1 - H * H
                g_gamma += S @ g_tr
                E = u @ g_f
                E -= H * ((2 * gamma)[:, None] * g_tr)
                E *= S
                g_y = w.T @ E
                g_z += g_y
                row = E.sum(axis=1)
                g["b"] += row
                g["a"] += t * row
                g["w"] += E @ y.T
                g["u"] += H @ g_f.T
            G = g_z
        g["w"] += g_gamma[:, None] * u
        g["u"] += g_gamma[:, None] * w
        return g, G.T

    return z.T, log_det, pullback
