r"""Radial stacks, layer by layer."""

from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array
from nflib_min.fast.buffers import layers_first, rows_first
from nflib_min.pullback import register
from nflib_min.radial import Radial


def sweep(
    f: Radial, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
) -> tuple[Array, Array, Callable, Array | None]:
    r"""A radial stack with its pullback.

    Forward, with x = z_{k-1} - z_ref, r = |x|, h = 1 / (alpha + r), rho = r h, A = alpha h and
    sigma = s h, s = softplus(beta): z_k = z_ref + q x with q = rho + sigma, and log_det gathers
    (d - 1) ln q + ln D with D = rho (1 + A) + A sigma.

    Back, with G = dF/dz_k, l = dF/dlog_det, p = x.G and b = s - alpha:
        dF/ds = p h + l h [(d-1) / q + A / D]
        dF/dr = -p b h^2 - l b h^2 [(d-1) / q + 2 A / D]
        alpha dF/dalpha = -r dF/dr - s dF/ds, because q and D do not change when r, s and alpha are
        scaled together (Euler's theorem for functions of degree 0)
        G <- q G + x (dF/dr) / r, and dF/dz_ref is what G lost, since z_k - z_{k-1} depends on x.

    The score: J scales by D along e = x / r and by q across, and grad ln det = e (dln det / dr).
    """
    per_row = params["beta"].ndim == 2
    z_ref, log_alpha, beta = (layers_first(params[name], per_row) for name in f.shapes)
    alpha, s = np.exp(log_alpha), np.logaddexp(0, beta)
    d, b = f.dim, s - alpha
    tiny = np.finfo(z0.dtype).tiny ** 0.5  # at the centre x = 0, and x / r is to be 0 as well
    z, log_det, score, layers = z0.T, 0.0, None if s0 is None else s0.T, []
    for k in range(f.length):
        x = z - z_ref[k]
        r = np.maximum(np.sqrt(np.einsum("dn,dn->n", x, x)), tiny)
        h = 1 / (r + alpha[k])
        rho, A = r * h, alpha[k] * h
        q = rho + s[k] * h
        D = rho * (1 + A) + A * (s[k] * h)
        q_term, D_term = (d - 1) / q, A / D
        by_r = -b[k] * h * h * (q_term + 2 * D_term)  # dln det / dr
        if score is not None:
            e = x / r
            along = np.einsum("dn,dn->n", e, score)
            score = score / q + e * (along * (1 / D - 1 / q) - weight * by_r / D)
        z = z_ref[k] + q * x
        log_det = log_det + (d - 1) * np.log(q) + np.log(D)
        layers.append((x, r, h, q, h * (q_term + D_term), by_r))

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        g: dict[str, list] = {name: [] for name in f.shapes}
        G = g_zK.T
        for k in reversed(range(f.length)):
            x, r, h, q, by_s, by_r = layers[k]
            p = np.einsum("dn,dn->n", x, G) * h
            g_s = p + g_log_det * by_s
            g_r = g_log_det * by_r - p * h * b[k]
            before, G = G, q * G + x * (g_r / r)
            parts = before - G, -r * g_r - s[k] * g_s, g_s * np.exp(-np.logaddexp(0, -beta[k]))
            for name, part in zip(f.shapes, parts, strict=True):
                g[name].append(part if per_row else part.sum(axis=-1))
        return {name: rows_first(np.stack(g[name][::-1]), per_row) for name in g}, G.T

    return z.T, log_det, pullback, None if score is None else score.T


register(Radial, sweep)
