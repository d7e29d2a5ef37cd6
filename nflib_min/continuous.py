r"""Flows of infinite length that are maps: Hamiltonian dynamics, and the flow of an ODE.

L is an energy here, a negative log density, as in `diffusions.py`.
"""

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, check_dim
from nflib_min.bijections import Bijection

VectorField = Callable[[Array], Array]


class Leapfrog(Bijection):
    r"""The Hamiltonian flow of $H(z, w) = L(z) + \tfrac12 |w|^2$ on $(z, w)$, by leapfrog steps.

    $w \leftarrow w - \tfrac\epsilon2 \nabla L(z)$, $z \leftarrow z + \epsilon w$,
    $w \leftarrow w - \tfrac\epsilon2 \nabla L(z)$. Each update shears the space, moving one half by
    a function of the other, so ln|det| = 0; running it with $-\epsilon$ inverts it.

    Parameters
    ----------
    grad_energy : (n, d) -> (n, d), the gradient of L (written with autograd.numpy if the map is to
        be differentiated).
    dim : d of z; the map works on the 2 d columns of (z, w).
    step_size : epsilon > 0. steps : their number, at least 1.

    params: {} (nothing is learned). Errors: ValueError on step_size <= 0 or steps < 1.

    >>> f = Leapfrog(lambda z: z, dim=1, step_size=0.1, steps=10)
    >>> zw = np.array([[1.0, 0.0]])
    >>> bool(abs(f.inverse({}, f.forward({}, zw)) - zw).max() < 1e-14)
    True

    Source: Rezende & Mohamed (2015), section 3.2; Neal, MCMC using Hamiltonian dynamics (2011).
    """

    def __init__(self, grad_energy: VectorField, dim: int, step_size: float, steps: int) -> None:
        if not step_size > 0:
            raise ValueError(f"step_size: expected a number > 0, got {step_size}")
        self.grad_energy, self.step_size = grad_energy, float(step_size)
        self.steps, self.dim = check_dim(steps, "steps"), 2 * check_dim(dim)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return self._run(z0, self.step_size), 0 * z0[:, 0]

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return self._run(zK, -self.step_size), 0 * zK[:, 0]

    def _run(self, zw: Array, epsilon: float) -> Array:
        d = self.dim // 2
        z, w = zw[:, :d], zw[:, d:]
        for _ in range(self.steps):
            w = w - 0.5 * epsilon * self.grad_energy(z)
            z = z + epsilon * w
            w = w - 0.5 * epsilon * self.grad_energy(z)
        return anp.concatenate([z, w], axis=1)

    def __repr__(self) -> str:
        return f"Leapfrog(dim={self.dim // 2}, step_size={self.step_size}, steps={self.steps})"


class ODEFlow(Bijection):
    r"""The flow of $\dot z = f(z, t)$ from t = 0 to 1, f a sum of M planar velocities.

    $f(z, t) = \sum_m u_m \tanh(w_m^\top z + b_m + a_m t)$, and along a path the log-density obeys
    $\frac{d}{dt} \ln q(z(t)) = -\operatorname{tr} \frac{\partial f}{\partial z}
    = -\sum_m (w_m^\top u_m) \tanh'_m$, so that $\ln|\det| = \int_0^1 \operatorname{tr}\, dt$.
    Both are integrated together by RK4 with N fixed steps: error O(N^-4). No constraint is needed,
    since the solution of an ODE can always be run backwards.

    Parameters
    ----------
    dim : d. width : M, planar velocities. steps : N, at least 1.

    params: u and w (M, d), b and a (M,); or one set per row.
    Errors: ValueError on sizes < 1, wrong shapes, NaN or inf.

    >>> f = ODEFlow(2, width=8, steps=20)
    >>> rng = np.random.default_rng(0)
    >>> params, z0 = f.init(rng), rng.standard_normal((5, 2))
    >>> bool(abs(f.inverse(params, f.forward(params, z0)) - z0).max() < 1e-6)
    True

    Source: the continuous limit of Rezende & Mohamed (2015), eqs. (10) and (13); Chen et al.,
    Neural ordinary differential equations (2018), theorem 1.
    """

    def __init__(self, dim: int, width: int = 32, steps: int = 10) -> None:
        self.dim, self.width = check_dim(dim), check_dim(width, "width")
        self.steps = check_dim(steps, "steps")
        self.shapes = {"u": (width, dim), "w": (width, dim), "b": (width,), "a": (width,)}

    def init(self, rng: np.random.Generator) -> dict:
        """Near the identity: u is small."""
        return {
            "u": 0.01 * rng.standard_normal(self.shapes["u"]),
            "w": rng.standard_normal(self.shapes["w"]),
            "b": np.zeros(self.width),
            "a": rng.standard_normal(self.width),
        }

    def velocity(self, params: dict, z: Array, t: float) -> tuple[Array, Array]:
        """f(z, t), shape (n, d), and tr(df/dz), shape (n,)."""
        u, w = params["u"], params["w"]
        wz = anp.dot(z, w.T) if w.ndim == 2 else anp.einsum("nmd,nd->nm", w, z)
        h = anp.tanh(wz + params["b"] + params["a"] * t)  # (n, M)
        f = anp.dot(h, u) if u.ndim == 2 else anp.einsum("nm,nmd->nd", h, u)
        return f, anp.sum((1 - h**2) * anp.sum(w * u, axis=-1), axis=1)

    def forward_formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        return self._rk4(params, z0, 0.0, 1.0)

    def inverse_formula(self, params: dict, zK: Array) -> tuple[Array, Array]:
        return self._rk4(params, zK, 1.0, 0.0)

    def _rk4(self, params: dict, z: Array, start: float, end: float) -> tuple[Array, Array]:
        dt = (end - start) / self.steps
        log_det = 0.0
        for i in range(self.steps):
            t = start + i * dt
            f1, tr1 = self.velocity(params, z, t)
            f2, tr2 = self.velocity(params, z + 0.5 * dt * f1, t + 0.5 * dt)
            f3, tr3 = self.velocity(params, z + 0.5 * dt * f2, t + 0.5 * dt)
            f4, tr4 = self.velocity(params, z + dt * f3, t + dt)
            z = z + dt / 6 * (f1 + 2 * f2 + 2 * f3 + f4)
            log_det = log_det + dt / 6 * (tr1 + 2 * tr2 + 2 * tr3 + tr4)
        return z, log_det

    def __repr__(self) -> str:
        return f"ODEFlow({self.dim}, width={self.width}, steps={self.steps})"
