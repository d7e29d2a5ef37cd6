r"""Flows of infinite length: Langevin and Fokker-Planck, Hamiltonian, and the flow of an ODE.

L is an energy here, a negative log density: the drift $-\nabla L$ and the stationary density
$q_\infty \propto e^{-L}$ need that sign (section 3.2 of the paper calls L a log density).
"""

from collections.abc import Callable

import autograd.numpy as np
import numpy as onp

from nflib_min import sweeps
from nflib_min._arrays import (
    Array,
    check_dim,
    check_finite,
    check_params,
    check_points,
    describe,
    is_traced,
)
from nflib_min.bijections import Bijection, Pullback, call_written, pullback_by_autograd

VectorField = Callable[[Array], Array]


# ------------------------------------------------------------------------ Langevin, Fokker-Planck
def langevin(
    grad_energy: VectorField, z0: Array, dt: float, steps: int, rng: onp.random.Generator
) -> Array:
    r"""Euler-Maruyama for the Langevin flow $dz = -\nabla L\, dt + \sqrt2\, d\xi$.

    $z \leftarrow z - \nabla L(z)\, dt + \sqrt{2\, dt}\, \epsilon$ with $\epsilon \sim N(0, I)$.

    Parameters
    ----------
    grad_energy : (n, d) -> (n, d), the gradient of L. z0 : (n, d). dt : time step, > 0.

    Errors: ValueError if dt is beyond stability: for a quadratic L of curvature lambda a step
    multiplies z by 1 - lambda dt, which grows unless dt < 2 / lambda; lambda is the largest
    curvature at the points z_0 (`largest_curvature`). FloatingPointError names the step where a
    point is no longer finite.

    >>> rng = onp.random.default_rng(0)
    >>> z = langevin(lambda z: z, onp.zeros((4000, 1)), dt=0.01, steps=500, rng=rng)
    >>> bool(abs(z.std() - 1) < 0.05)  # stationary: e^{-z^2/2}
    True

    Source: Rezende & Mohamed (2015), eq. (9), with F = -grad L and G = sqrt(2) I.
    """
    check_points(z0, z0.shape[1] if onp.ndim(z0) == 2 else 0, "z0")
    check_dim(steps, "steps")
    limit = 2 / max(largest_curvature(grad_energy, z0), 1e-300)
    if not 0 < dt < limit:
        raise ValueError(
            f"dt: expected 0 < dt < 2 / lambda = {limit:.4g}, the stability limit of "
            f"Euler-Maruyama at the curvature of z0, got {dt}"
        )
    z = z0
    for step in range(steps):
        z = z - dt * grad_energy(z) + onp.sqrt(2 * dt) * rng.standard_normal(z.shape)
        if not onp.isfinite(z).all():
            raise FloatingPointError(
                f"langevin step {step}: expected finite points, got NaN or inf"
            )
    return z


def largest_curvature(grad_energy: VectorField, z: Array, iterations: int = 20) -> float:
    r"""The largest eigenvalue of $\nabla\nabla L$ over the rows z, by power iteration; at least 0.

    Products with the Hessian are differences of the gradient,
    $\nabla\nabla L\, v \approx [\nabla L(z + \epsilon v) - \nabla L(z - \epsilon v)] / 2\epsilon$.
    A first pass finds the eigenvalue of largest size; shifting by it makes the top one dominant.

    >>> round(largest_curvature(lambda z: z * onp.array([1.0, 9.0]), onp.ones((3, 2))), 3)
    9.0

    Source: Golub & Van Loan, Matrix Computations, section 7.3.
    """

    def hessian_times(v: Array) -> Array:
        epsilon = 1e-5
        return (grad_energy(z + epsilon * v) - grad_energy(z - epsilon * v)) / (2 * epsilon)

    def dominant(multiply: VectorField) -> Array:
        v = onp.cos(1 + onp.arange(z.size, dtype=float)).reshape(z.shape)
        for _ in range(iterations):
            v = v / onp.maximum(onp.linalg.norm(v, axis=1, keepdims=True), 1e-300)
            Av = multiply(v)
            v, value = Av, onp.sum(v * Av, axis=1, keepdims=True)  # Rayleigh quotient, (n, 1)
        return value

    size = onp.abs(dominant(hessian_times))
    return float(onp.max(dominant(lambda v: hessian_times(v) + size * v) - size, initial=0.0))


def fokker_planck_rates(energy: Callable[[Array], Array], z: Array, cell: float) -> Array:
    r"""The rates at which a 2-D grid's cells pass probability to their four neighbours.

    A cell i passes $q_i\, B(L_j - L_i) / \Delta^2$ per unit time to its neighbour j, with
    $B(x) = x / (e^x - 1)$. Since $B(x) / B(-x) = e^{-x}$, the flows between i and j balance exactly
    at $q \propto e^{-L}$; no flow crosses the border.

    Parameters
    ----------
    energy : (n, 2) -> (n,), L. z : the (m^2, 2) points of `checks.grid`. cell : area of a cell.

    Returns
    -------
    rates, shape (4, m, m): to the left, right, lower and upper neighbour.

    >>> from nflib_min.checks import grid
    >>> z, cell = grid((-1.0, 1.0), 3)
    >>> fokker_planck_rates(lambda z: 0 * z[:, 0], z, cell)[1, 0].round(3)  # flat: 1 / Delta^2
    array([2.25, 2.25, 0.  ])

    Source: the Fokker-Planck equation of Rezende & Mohamed (2015), section 3.2, D = 2 I;
    Scharfetter & Gummel (1969) for B.
    """
    m = round(len(z) ** 0.5)
    L = onp.asarray(energy(z))
    if m * m != len(z) or L.shape != (len(z),):
        raise ValueError(
            f"energy: expected one value for each of m^2 grid points, shape ({len(z)},), "
            f"got {describe(L)}"
        )
    check_finite(L, "energy on the grid")
    L = L.reshape(m, m)  # rows: z2, columns: z1
    rates = onp.zeros((4, m, m))
    for side, (to, of) in enumerate(NEIGHBOURS):
        rates[side][of] = _bernoulli(L[to] - L[of]) / cell
    return rates


# for each side: the receiving cells and, at the same places, the giving ones
_ALL, _LOW, _HIGH = slice(None), slice(None, -1), slice(1, None)
NEIGHBOURS = (
    ((_ALL, _LOW), (_ALL, _HIGH)),
    ((_ALL, _HIGH), (_ALL, _LOW)),
    ((_LOW, _ALL), (_HIGH, _ALL)),
    ((_HIGH, _ALL), (_LOW, _ALL)),
)


def _bernoulli(x: Array) -> Array:
    """x / (e^x - 1), 1 at x = 0; for large x it is 0, for large -x it is -x."""
    small = onp.abs(x) < 1e-12
    with onp.errstate(over="ignore"):
        return onp.where(small, 1.0, x / onp.where(small, 1.0, onp.expm1(x)))


def fokker_planck(q: Array, rates: Array, dt: float, steps: int) -> Array:
    r"""Evolve a density on a grid: $q_i \leftarrow q_i + dt\,(\text{inflow}_i - \text{outflow}_i)$.

    What leaves one cell enters another, so the mass is conserved to rounding.

    Parameters
    ----------
    q : (m, m) or (m^2,), the density in each cell; the shape is kept. rates : of
    `fokker_planck_rates`. dt : time step.

    Errors: ValueError if dt exceeds the stability limit $1 / \max_i \sum_j \text{rate}_{ij}$, up to
    which every new value is a sum of non-negative parts of old ones.

    >>> from nflib_min.checks import grid
    >>> z, cell = grid((-4.0, 4.0), 32)
    >>> rates = fokker_planck_rates(lambda z: 0.5 * onp.sum(z**2, axis=1), z, cell)
    >>> q = fokker_planck(onp.full(1024, 1 / 64), rates, dt=0.01, steps=100)
    >>> bool(abs(q.sum() * cell - 1) < 1e-12)
    True

    Source: Rezende & Mohamed (2015), section 3.2.
    """
    m = rates.shape[1]
    if onp.size(q) != m * m:
        raise ValueError(f"q: expected shape ({m}, {m}) or ({m * m},), got {describe(q)}")
    check_finite(q, "q")
    check_dim(steps, "steps")
    limit = 1 / float(rates.sum(axis=0).max())
    if not 0 < dt <= limit:
        raise ValueError(
            f"dt: expected 0 < dt <= {limit:.4g}, the stability limit of this grid, got {dt}"
        )
    now = onp.reshape(q, (m, m)).astype(float)
    stay = 1 - dt * rates.sum(axis=0)
    give = dt * rates
    for _ in range(steps):
        after = stay * now
        for side, (to, of) in enumerate(NEIGHBOURS):
            after[to] += (give[side] * now)[of]
        now = after
    return now.reshape(onp.shape(q))


# ------------------------------------------------------------------------------------ Hamiltonian
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
    >>> zw = onp.array([[1.0, 0.0]])
    >>> bool(abs(f.inverse({}, f.forward({}, zw)) - zw).max() < 1e-14)
    True

    Source: Rezende & Mohamed (2015), section 3.2; Neal, MCMC using Hamiltonian dynamics (2011).
    """

    def __init__(self, grad_energy: VectorField, dim: int, step_size: float, steps: int) -> None:
        if not step_size > 0:
            raise ValueError(f"step_size: expected a number > 0, got {step_size}")
        self.grad_energy, self.step_size = grad_energy, float(step_size)
        self.steps, self.dim = check_dim(steps, "steps"), 2 * check_dim(dim)

    def init(self, rng: onp.random.Generator) -> dict:
        """No parameters."""
        return {}

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        check_points(z0, self.dim, "z0")
        check_params(self, params, {}, len(z0))
        return self._run(z0, self.step_size), 0 * z0[:, 0]

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        check_points(zK, self.dim, "zK")
        check_params(self, params, {}, len(zK))
        return self._run(zK, -self.step_size), 0 * zK[:, 0]

    def _run(self, zw: Array, epsilon: float) -> Array:
        d = self.dim // 2
        z, w = zw[:, :d], zw[:, d:]
        for _ in range(self.steps):
            w = w - 0.5 * epsilon * self.grad_energy(z)
            z = z + epsilon * w
            w = w - 0.5 * epsilon * self.grad_energy(z)
        return np.concatenate([z, w], axis=1)

    def __repr__(self) -> str:
        return f"Leapfrog(dim={self.dim // 2}, step_size={self.step_size}, steps={self.steps})"


# ------------------------------------------------------------------------------------------- ODE
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
    >>> rng = onp.random.default_rng(0)
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

    def init(self, rng: onp.random.Generator) -> dict:
        """Near the identity: u is small."""
        return {
            "u": 0.01 * rng.standard_normal(self.shapes["u"]),
            "w": rng.standard_normal(self.shapes["w"]),
            "b": onp.zeros(self.width),
            "a": rng.standard_normal(self.width),
        }

    def velocity(self, params: dict, z: Array, t: float) -> tuple[Array, Array]:
        """f(z, t), shape (n, d), and tr(df/dz), shape (n,)."""
        u, w = params["u"], params["w"]
        wz = np.dot(z, w.T) if w.ndim == 2 else np.einsum("nmd,nd->nm", w, z)
        h = np.tanh(wz + params["b"] + params["a"] * t)  # (n, M)
        f = np.dot(h, u) if u.ndim == 2 else np.einsum("nm,nmd->nd", h, u)
        return f, np.sum((1 - h**2) * np.sum(w * u, axis=-1), axis=1)

    def forward_and_log_det(self, params: dict, z0: Array) -> tuple[Array, Array]:
        per_row = self._check(params, z0, "z0")
        if is_traced((params, z0)) and not per_row:
            return call_written(self, self.formula, params, z0)
        return self._rk4(params, z0, 0.0, 1.0)

    def formula(self, params: dict, z0: Array) -> tuple[Array, Array]:
        """The plain RK4 steps, which autograd can trace: what the written pullback agrees with."""
        self._check(params, z0, "z0")
        return self._rk4(params, z0, 0.0, 1.0)

    def forward_with_pullback(self, params: dict, z0: Array) -> tuple[Array, Array, Pullback]:
        if self._check(params, z0, "z0"):  # one velocity field a row shares no matrix product
            return pullback_by_autograd(self.formula, params, z0)
        return sweeps.ode(params, z0, 0.0, 1.0, self.steps)

    def inverse_and_log_det(self, params: dict, zK: Array) -> tuple[Array, Array]:
        self._check(params, zK, "zK")
        return self._rk4(params, zK, 1.0, 0.0)

    def _check(self, params: dict, z: Array, name: str) -> bool:
        check_points(z, self.dim, name)
        return check_params(self, params, self.shapes, len(z))

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
