r"""The laws that every flow obeys, as functions a reader can call: each proves one claim by a
second route, and returns the error it found.
"""

from collections.abc import Callable

import numpy as np
from autograd.core import make_vjp

from nflib_min._arrays import Array, Params, check_dim
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.bijections import Bijection
from nflib_min.pullback import pullback_by_autograd, without_kernels


def log_det_by_autodiff(bijection: Bijection, params: Params, z0: Array) -> Array:
    r"""$\ln|\det \partial f / \partial z_0|$ from autograd's whole Jacobian, row by row: (n,).

    d reverse passes, then O(d^3) for each determinant: the slow route that checks formulas.

    >>> from nflib_min import Affine
    >>> params = {"mean": np.zeros(2), "log_scale": np.array([1.0, 2.0])}
    >>> log_det_by_autodiff(Affine(2), params, np.ones((1, 2)))
    array([3.])

    Source: the definition in Rezende & Mohamed (2015), eq. (5).
    """
    vjp, zK = make_vjp(lambda z: bijection.forward(params, z), z0)
    # rows do not mix, so one pass with e_j in every row gives row j of every Jacobian
    J = np.stack([vjp(np.broadcast_to(e, zK.shape).copy()) for e in np.eye(bijection.dim)], axis=1)
    return np.linalg.slogdet(J)[1]


def log_det_by_differences(
    bijection: Bijection, params: Params, z0: Array, step: float = 1e-6
) -> Array:
    r"""$\ln|\det \partial f / \partial z_0|$ by central differences, shape (n,): error O(step^2).

    >>> from nflib_min import Affine
    >>> params = {"mean": np.zeros(2), "log_scale": np.array([1.0, 2.0])}
    >>> log_det_by_differences(Affine(2), params, np.ones((1, 2))).round(6)
    array([3.])

    Source: the definition in Rezende & Mohamed (2015), eq. (5).
    """
    columns = []
    for i in range(bijection.dim):
        e = step * np.eye(bijection.dim)[i]
        ahead = bijection.forward(params, z0 + e)
        behind = bijection.forward(params, z0 - e)
        columns.append((ahead - behind) / (2 * step))
    return np.linalg.slogdet(np.stack(columns, axis=2))[1]


def round_trip_error(bijection: Bijection, params: Params, z0: Array) -> float:
    r"""$\max |f^{-1}(f(z_0)) - z_0|$ relative to $1 + |z_0|$.

    >>> from nflib_min import Affine
    >>> params = {"mean": np.array([1.0]), "log_scale": np.array([2.0])}
    >>> round_trip_error(Affine(1), params, np.array([[0.5]])) < 1e-15
    True

    Source: g o f(z) = z, Rezende & Mohamed (2015), section 3.1.
    """
    z_back = bijection.inverse(params, bijection.forward(params, z0))
    return float(np.max(np.abs(z_back - z0) / (1 + np.abs(z0))))


def log_det_cancellation(bijection: Bijection, params: Params, z0: Array) -> float:
    r"""$\max |\ln|\det J_f(z_0)| + \ln|\det J_{f^{-1}}(z_K)||$, which is 0: eq. (5) read both ways.

    >>> from nflib_min import Affine
    >>> params = {"mean": np.array([1.0]), "log_scale": np.array([2.0])}
    >>> log_det_cancellation(Affine(1), params, np.array([[0.5]]))
    0.0

    Source: Rezende & Mohamed (2015), eq. (5).
    """
    zK, log_det = bijection.forward_and_log_det(params, z0)
    _, log_det_back = bijection.inverse_and_log_det(params, zK)
    return float(np.max(np.abs(log_det + log_det_back)))


def grid(limits: tuple[float, float], points: int, dim: int = 2) -> tuple[Array, float]:
    """Midpoints of a regular grid on a cube, shape (points^dim, dim), and the volume of one cell.

    Rows run like `numpy.meshgrid(..., indexing="xy")` flattened: the first coordinate fastest.
    Errors: ValueError unless low < high and sizes are at least 1.

    >>> z, cell = grid((-1.0, 1.0), 2, dim=1)
    >>> z.tolist(), cell
    ([[-0.5], [0.5]], 1.0)

    Source: the midpoint rule, as Davis & Rabinowitz, Methods of numerical integration (1984).
    """
    low, high = limits
    if not low < high:
        raise ValueError(f"limits: expected (low, high) with low < high, got {limits}")
    check_dim(points, "points")
    width = (high - low) / points
    axis = low + width * (np.arange(points) + 0.5)
    mesh = np.meshgrid(*[axis] * check_dim(dim), indexing="ij")
    return np.stack([m.ravel() for m in reversed(mesh)], axis=1), width**dim


def total_mass(
    log_prob: Callable[[Array], Array],
    limits: tuple[float, float] = (-8.0, 8.0),
    points: int = 400,
    dim: int = 2,
) -> float:
    r"""$\int e^{\ln q(z)} dz$ over a cube, by the midpoint rule: 1 for a density that fits in it.

    For a smooth density that is 0 at the border the rule converges faster than any power.

    >>> from nflib_min import StandardNormal
    >>> round(total_mass(StandardNormal(1).log_prob, dim=1), 9)
    1.0

    Source: the property that eq. (5) of Rezende & Mohamed (2015) preserves.
    """
    z, cell = grid(limits, points, dim)
    return float(np.exp(log_prob(z)).sum() * cell)


def mass_growth(
    log_density: Callable[[Array], Array],
    limits: tuple[float, float] = (-8.0, 8.0),
    points: int = 400,
    dim: int = 2,
) -> float:
    r"""$\ln\int e^{\ln\tilde p}$ over a cube of twice the side, minus the same over the cube.

    0 for an energy whose Z is finite and whose mass lies inside. An energy that is constant along j
    coordinates gives j ln 2 however large the cube: its Z is infinite, and no bound on ln Z means
    anything.

    >>> flat_in_one = lambda z: -0.5 * z[:, 1] ** 2
    >>> round(mass_growth(flat_in_one), 6)  # ln 2
    0.693147

    Source: Rezende & Mohamed (2015), table 1, whose U2, U3 and U4 have no normalizer.
    """
    low, high = limits
    middle, side = (low + high) / 2, high - low
    wide = (middle - side, middle + side)
    inner = total_mass(log_density, limits, points, dim)
    return float(np.log(total_mass(log_density, wide, 2 * points, dim) / inner))


def moment_gap(draws: Array, reference: Array) -> float:
    r"""The largest difference of first and second moments of two sets of draws, in standard errors.

    Each of $z_i$ and $z_i z_j$ is averaged over both sets. Draws of one law stay below 5; what
    exceeds it comes from another law.

    Parameters
    ----------
    draws, reference : (n, d) and (m, d), independent; n and m may differ.

    >>> rng = np.random.default_rng(0)
    >>> z, same = rng.standard_normal((2, 1000, 2))
    >>> moment_gap(z, same) < 5 < moment_gap(1.5 * z, same)
    True

    Source: Geweke, Getting it right (2004): simulate the model by two routes and compare moments.
    """
    first, second = (
        np.hstack([z, (z[:, :, None] * z[:, None, :]).reshape(len(z), -1)])
        for z in (draws, reference)
    )
    error = np.sqrt(first.var(axis=0) / len(first) + second.var(axis=0) / len(second))
    return float(np.max(np.abs(first.mean(axis=0) - second.mean(axis=0)) / error))


def kl_by_quadrature(
    log_q: Callable[[Array], Array],
    log_p: Callable[[Array], Array],
    limits: tuple[float, float] = (-8.0, 8.0),
    points: int = 400,
    dim: int = 2,
) -> float:
    r"""$\mathrm{KL}(q \| p) = \int q (\ln q - \ln p)\, dz$ over a cube, in nats, without sampling.

    Where q is 0 the integrand is 0.

    >>> from nflib_min import StandardNormal
    >>> base = StandardNormal(1)
    >>> shifted = lambda z: base.log_prob(z - 1.0)
    >>> round(kl_by_quadrature(base.log_prob, shifted, dim=1), 9)  # (difference of means)^2 / 2
    0.5

    Source: the divergence of Rezende & Mohamed (2015), eq. (3).
    """
    z, cell = grid(limits, points, dim)
    log_q_z = log_q(z)
    q = np.exp(log_q_z)
    inside = q > 0
    return float(np.sum(q[inside] * (log_q_z[inside] - log_p(z)[inside])) * cell)


def check_bound(log_w: Array, log_evidence: float) -> tuple[float, float]:
    r"""$\ln Z - \mathrm{ELBO}$ from log weights, with its standard error: negative only by noise.

    AssertionError if the bound lies above the evidence by more than five standard errors, since
    then a log-determinant, a sign or a normalizer is wrong.

    >>> check_bound(np.array([-1.0, -2.0]), 0.0)
    (1.5, 0.5)

    Source: Rezende & Mohamed (2015), eqs. (1)-(3).
    """
    gap = log_evidence - float(np.mean(log_w))
    error = float(np.std(log_w, ddof=1) / np.sqrt(len(log_w)))
    if not gap >= -5 * error - 1e-9:
        raise AssertionError(
            f"expected ELBO <= ln Z = {log_evidence:.6g}, got an ELBO above it by {-gap:.3g} "
            f"(standard error {error:.2g})"
        )
    return gap, error


def pullback_error(bijection: Bijection, params: Params, z0: Array) -> float:
    r"""The largest difference between the written pullback and autograd's of the plain formula.

    Relative to 1 + the size of each gradient, for one fixed pair of incoming gradients.

    >>> from nflib_min import Planar
    >>> rng = np.random.default_rng(0)
    >>> f = Planar(2, length=4)
    >>> pullback_error(f, f.init(rng), rng.standard_normal((5, 2))) < 1e-12
    True

    Source: reverse-mode differentiation of Rezende & Mohamed (2015), eq. (15).
    """
    zK, log_det, pullback = bijection.forward_with_pullback(params, z0)
    with without_kernels():
        _, _, reference = pullback_by_autograd(bijection.forward_and_log_det, params, z0)
    g = np.cos(np.arange(zK.size, dtype=zK.dtype)).reshape(zK.shape), np.sin(1 + log_det)
    got = dict(tree_leaves(pullback(*g)[0])) | {"z0": pullback(*g)[1]}
    want = dict(tree_leaves(reference(*g)[0])) | {"z0": reference(*g)[1]}
    errors = (np.abs(got[name] - want[name]) / (1 + np.abs(want[name])) for name in want)
    return max(float(np.max(error, initial=0.0)) for error in errors)


def check_bijection(
    bijection: Bijection,
    params: Params,
    z0: Array,
    tolerance: float = 1e-8,
    per_row: bool = False,
) -> dict[str, float]:
    r"""All laws of a map at the points z_0; returns each law's error.

    round trip; ln|det| against the autodiff Jacobian; forward and inverse ln|det| cancel; a batch
    gives what its rows give one by one; the pullback against autograd's. Set per_row where params
    hold one set per row. AssertionError names the law that fails, the error and the tolerance.

    >>> from nflib_min import Planar
    >>> f = Planar(2, length=2)
    >>> rng = np.random.default_rng(0)
    >>> errors = check_bijection(f, f.init(rng), rng.standard_normal((3, 2)))
    >>> list(errors)
    ['round trip', 'log det', 'inverse log det', 'batch', 'pullback']

    Source: Rezende & Mohamed (2015), section 3.1.
    """
    zK, log_det = bijection.forward_and_log_det(params, z0)

    def of_row(i: int) -> Params:
        return (
            tree_unflatten(params, (p[i : i + 1] for _, p in tree_leaves(params)))
            if per_row
            else params
        )

    rows = [bijection.forward_and_log_det(of_row(i), z0[i : i + 1]) for i in range(len(z0))]
    errors = {
        "round trip": round_trip_error(bijection, params, z0),
        "log det": float(np.max(np.abs(log_det - log_det_by_autodiff(bijection, params, z0)))),
        "inverse log det": log_det_cancellation(bijection, params, z0),
        "batch": float(
            max(
                np.max(np.abs(zK - np.concatenate([z for z, _ in rows]))),
                np.max(np.abs(log_det - np.concatenate([ld for _, ld in rows]))),
            )
        ),
        "pullback": pullback_error(bijection, params, z0),
    }
    for law, error in errors.items():
        if not error <= tolerance:  # not an assert statement, which python -O would leave out
            raise AssertionError(
                f"{bijection}: expected an error of at most {tolerance:g} in the law "
                f"'{law}', got {error:.3g}"
            )
    return errors
