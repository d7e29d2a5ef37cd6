r"""The flow of an ODE by RK4: the discrete sweep whose limit is the adjoint equation."""

from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array
from nflib_min.continuous import ODEFlow
from nflib_min.pullback import register


def solve(
    f: ODEFlow, params: dict, z0: Array, start: float, end: float
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
    dt = (end - start) / f.steps
    weights, reach = (dt / 6, dt / 3, dt / 3, dt / 6), (0.0, dt / 2, dt / 2, dt)
    z, stages = np.array(z0.T, order="C"), []
    squares = np.zeros(z0.shape[0], z.dtype)  # integral of sum_m gamma_m H_m^2
    for i in range(f.steps):
        z_next, velocity = z.copy(), np.zeros_like(z)
        for weight, c in zip(weights, reach, strict=True):
            t = start + i * dt + c
            y = z + c * velocity
            H = w @ y
            H += (b + a * t)[:, None]
            np.tanh(H, out=H)
            velocity = u.T @ H
            z_next += weight * velocity
            squares += weight * (gamma @ (H * H))
            stages.append((y, H, t))
        z = z_next
    log_det = (end - start) * gamma.sum() - squares

    def pullback(g_zK: Array, g_log_det: Array) -> tuple[dict, Array]:
        g = {name: np.zeros_like(params[name]) for name in ("u", "w", "b", "a")}
        g_gamma = np.zeros_like(gamma)
        G = np.array(g_zK.T, z.dtype, order="C")
        for i in reversed(range(f.steps)):
            g_y, g_z = np.zeros_like(G), G.copy()
            for stage in (3, 2, 1, 0):
                y, H, t = stages[4 * i + stage]
                g_f = weights[stage] * G + (reach[stage + 1] if stage < 3 else 0.0) * g_y
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


def sweep(
    f: ODEFlow, params: dict, z0: Array, s0: Array | None = None, weight: float | Array = 1.0
) -> tuple[Array, Array, Callable, None]:
    """The solution from t = 0 to 1. Scores have no recursion here: the general way carries them."""
    return *solve(f, params, z0, 0.0, 1.0), None


register(
    ODEFlow,
    sweep,
    forward=lambda f, params, z0, log_det: f.forward_formula(params, z0),
    inverse=lambda f, params, zK: solve(f, params, zK, 1.0, 0.0),
    per_row=False,
)
