r"""Flows of infinite length that diffuse: Langevin's particles, and Fokker-Planck's density.

L is an energy here, a negative log density: the drift $-\nabla L$ and the stationary density
$q_\infty \propto e^{-L}$ need that sign (section 3.2 of the paper calls L a log density).
"""

from collections.abc import Callable

import numpy as np

from nflib_min._arrays import Array, check_dim, check_finite, check_points, describe

VectorField = Callable[[Array], Array]


def langevin(
    grad_energy: VectorField, z0: Array, dt: float, steps: int, rng: np.random.Generator
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

    >>> rng = np.random.default_rng(0)
    >>> z = langevin(lambda z: z, np.zeros((4000, 1)), dt=0.01, steps=500, rng=rng)
    >>> bool(abs(z.std() - 1) < 0.05)  # stationary: e^{-z^2/2}
    True

    Source: Rezende & Mohamed (2015), eq. (9), with F = -grad L and G = sqrt(2) I.
    """
    check_points(z0, z0.shape[1] if np.ndim(z0) == 2 else 0, "z0")
    check_dim(steps, "steps")
    limit = 2 / max(largest_curvature(grad_energy, z0), 1e-300)
    if not 0 < dt < limit:
        raise ValueError(
            f"dt: expected 0 < dt < 2 / lambda = {limit:.4g}, the stability limit of "
            f"Euler-Maruyama at the curvature of z0, got {dt}"
        )
    z = z0
    for step in range(steps):
        z = z - dt * grad_energy(z) + np.sqrt(2 * dt) * rng.standard_normal(z.shape)
        if not np.isfinite(z).all():
            raise FloatingPointError(
                f"langevin step {step}: expected finite points, got NaN or inf"
            )
    return z


def largest_curvature(grad_energy: VectorField, z: Array, iterations: int = 20) -> float:
    r"""The largest eigenvalue of $\nabla\nabla L$ over the rows z, by power iteration; at least 0.

    Products with the Hessian are differences of the gradient,
    $\nabla\nabla L\, v \approx [\nabla L(z + \epsilon v) - \nabla L(z - \epsilon v)] / 2\epsilon$.
    A first pass finds the eigenvalue of largest size; shifting by it makes the top one dominant.

    >>> round(largest_curvature(lambda z: z * np.array([1.0, 9.0]), np.ones((3, 2))), 3)
    9.0

    Source: Golub & Van Loan, Matrix computations (2013), section 7.3.
    """

    def hessian_times(v: Array) -> Array:
        epsilon = 1e-5
        return (grad_energy(z + epsilon * v) - grad_energy(z - epsilon * v)) / (2 * epsilon)

    def dominant(multiply: VectorField) -> Array:
        v = np.cos(1 + np.arange(z.size, dtype=float)).reshape(z.shape)
        for _ in range(iterations):
            v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300)
            Av = multiply(v)
            v, value = Av, np.sum(v * Av, axis=1, keepdims=True)  # Rayleigh quotient, (n, 1)
        return value

    size = np.abs(dominant(hessian_times))
    return float(np.max(dominant(lambda v: hessian_times(v) + size * v) - size, initial=0.0))


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
    Errors: ValueError unless L has one finite value for each of m^2 points.

    >>> from nflib_min.checks import grid
    >>> z, cell = grid((-1.0, 1.0), 3)
    >>> fokker_planck_rates(lambda z: 0 * z[:, 0], z, cell)[1, 0].round(3)  # flat: 1 / Delta^2
    array([2.25, 2.25, 0.  ])

    Source: the Fokker-Planck equation of Rezende & Mohamed (2015), section 3.2, D = 2 I;
    Scharfetter & Gummel (1969) for B.
    """
    m = round(len(z) ** 0.5)
    L = np.asarray(energy(z))
    if m * m != len(z) or L.shape != (len(z),):
        raise ValueError(
            f"energy: expected one value for each of m^2 grid points, shape ({len(z)},), "
            f"got {describe(L)}"
        )
    check_finite(L, "energy on the grid")
    L = L.reshape(m, m)  # rows: z2, columns: z1
    rates = np.zeros((4, m, m))
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
    small = np.abs(x) < 1e-12
    with np.errstate(over="ignore"):
        return np.where(small, 1.0, x / np.where(small, 1.0, np.expm1(x)))


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
    >>> rates = fokker_planck_rates(lambda z: 0.5 * np.sum(z**2, axis=1), z, cell)
    >>> q = fokker_planck(np.full(1024, 1 / 64), rates, dt=0.01, steps=100)
    >>> bool(abs(q.sum() * cell - 1) < 1e-12)
    True

    Source: Rezende & Mohamed (2015), section 3.2.
    """
    m = rates.shape[1]
    if np.size(q) != m * m:
        raise ValueError(f"q: expected shape ({m}, {m}) or ({m * m},), got {describe(q)}")
    check_finite(q, "q")
    check_dim(steps, "steps")
    limit = 1 / float(rates.sum(axis=0).max())
    if not 0 < dt <= limit:
        raise ValueError(
            f"dt: expected 0 < dt <= {limit:.4g}, the stability limit of this grid, got {dt}"
        )
    now = np.reshape(q, (m, m)).astype(float)
    stay = 1 - dt * rates.sum(axis=0)
    give = dt * rates
    for _ in range(steps):
        after = stay * now
        for side, (to, of) in enumerate(NEIGHBOURS):
            after[to] += (give[side] * now)[of]
        now = after
    return now.reshape(np.shape(q))
