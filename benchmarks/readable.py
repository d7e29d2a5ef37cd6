"""The planar step as objects that a reader can follow: no tracing, no buffers, layer by layer.

Points are columns, (d, n); G stands for dF/dz after the layer and l for dF/dlog_det, (n,).
"""

import math

import numpy as np

from nflib_min import Flow
from nflib_min.targets import Target

Array = np.ndarray
SHIFT = math.log(math.e - 1)  # a Python float: NumPy's own would turn float32 into float64


class PlanarLayer:
    r"""$f(z) = z + \hat u \tanh(w^\top z + b)$, eq. (10), and its gradient written out."""

    def __init__(self, u: Array, w: Array, b: float) -> None:
        self.u, self.w, self.b = u, w, b

    def forward(self, z: Array) -> tuple[Array, Array]:
        u, w = self.u, self.w
        a, self.q = w.dot(u), w.dot(w)
        self.c = np.logaddexp(0, a + SHIFT) - 1  # m(a) of appendix A, shifted so that m(0) = 0
        self.push = (self.c - a) / self.q
        self.u_hat = u + self.push * w
        self.z, self.h = z, np.tanh(w.dot(z) + self.b)
        self.slope = 1 - self.h * self.h  # tanh'
        self.det = 1 + self.c * self.slope  # eq. (12)
        return z + self.u_hat[:, None] * self.h, np.log(self.det)

    def backward(self, G: Array, l: Array) -> tuple[Array, Array, float, Array]:  # noqa: E741
        u, w = self.u, self.w
        l_det = l / self.det
        e = self.slope * (self.u_hat.dot(G) - 2 * self.c * l_det * self.h)  # dF/d(w.z + b)
        g_u_hat, g_c = G.dot(self.h), l_det.dot(self.slope)
        m_slope = 1 - np.exp(-1 - self.c)
        s = g_u_hat.dot(w) / self.q  # dF/d(m - a)
        g_a = s * (m_slope - 1) + g_c * m_slope
        g_u = g_u_hat + g_a * w
        g_w = self.z.dot(e) + self.push * g_u_hat + g_a * u - 2 * s * self.push * w
        return g_u, g_w, e.sum(), G + w[:, None] * e


class ReadableFreeEnergy:
    """Eq. (15) with its gradient, layer by layer there and back; a loss for `nflib_min`'s fit."""

    def __init__(self, flow: Flow, target: Target, batch: int) -> None:
        self.flow, self.target, self.batch = flow, target, batch

    def value_and_grad(self, params: dict, rng: object, step: int) -> tuple[float, dict]:
        dtype = params["u"].dtype
        z0 = self.flow.base.sample(self.batch, rng, dtype.type)
        layers = [
            PlanarLayer(u, w, b)
            for u, w, b in zip(params["u"], params["w"], params["b"], strict=True)
        ]
        z, log_det = z0.T, 0.0
        for layer in layers:
            z, term = layer.forward(z)
            log_det = log_det + term
        log_p, g_log_p = self.target.log_density_and_grad(z.T)
        value = np.mean(self.flow.base.log_prob(z0) - log_p - log_det)

        g = {name: np.empty_like(p) for name, p in params.items()}
        G, l = -g_log_p.T / self.batch, np.full(self.batch, -1 / self.batch, dtype)  # noqa: E741
        for k in reversed(range(len(layers))):
            g["u"][k], g["w"][k], g["b"][k], G = layers[k].backward(G, l)
        return float(value), g
