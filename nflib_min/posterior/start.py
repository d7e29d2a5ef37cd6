"""Where training begins: the best Gaussian on Newton's way from each start."""

import numpy as np

from nflib_min._arrays import Array
from nflib_min.posterior.given import FiniteTarget, check_gradient
from nflib_min.targets import Target

LOG_2PI = float(np.log(2 * np.pi))
NEWTON_STEPS = 60
FLOOR = 1e-3  # the least size of a negative curvature, in units of the diagonal


def gaussians_from(
    target: Target, starts: Array, rng: np.random.Generator
) -> list[tuple[Array, Array]]:
    """(mean, L) of the best Gaussian on Newton's way from each start, the best of all first."""
    finite = FiniteTarget(target)
    inside = starts[np.isfinite(finite(starts))]
    if len(inside) == 0:
        raise ValueError(
            f"log_density: expected a finite value at one start at least, got NaN or inf at all "
            f"{len(starts)}"
        )
    check_gradient(finite, inside[:3])
    eps = rng.standard_normal((64, target.dim))
    climbed = [newton(finite, x, eps) for x in inside]
    return [(mean, L) for _, mean, L in sorted(climbed, key=lambda each: -each[0])]


def newton(target: FiniteTarget, x: Array, eps: Array) -> tuple[float, Array, Array]:
    r"""(ELBO, mean, L) of the best Gaussian $N(m, L L^\top)$ met while climbing from x.

    With $H = -\nabla^2 \ln \tilde p$ by differences of the gradient, each point proposes
    $N(x, H^{-1})$ and $N(x + H^{-1} g, H^{-1})$. The mode itself may be useless, a spike with no
    mass; the ELBO, on common draws eps, says which point on the way is the best start.
    Negative curvatures count by size, so that every step climbs.
    """
    d, scale = len(x), np.ones(len(x))
    best = (-np.inf, x, np.eye(d))
    for _ in range(NEWTON_STEPS):
        moves = np.diag(1e-4 * scale)
        value, g = target.log_density_and_grad(np.concatenate([x[None], x + moves, x - moves]))
        H = (g[d + 1 :] - g[1 : d + 1]) / (2e-4 * scale[:, None])
        if not np.isfinite(H).all():
            break
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(H)), 1e-12))
        curvature, V = np.linalg.eigh(0.5 * scale[:, None] * (H + H.T) * scale)
        curvature = np.where(curvature > 0, np.maximum(curvature, 1e-8), np.abs(curvature) + FLOOR)
        root = scale[:, None] * V / np.sqrt(curvature)
        _, R = np.linalg.qr(root.T)  # H^-1 = root root^T = R^T R, so L = R^T up to signs
        L = (R * np.where(np.diag(R) < 0, -1, 1)[:, None]).T
        if not (np.diag(L) > 0).all():
            break
        step = root @ (root.T @ g[0])
        for mean in (x, x + step):
            elbo = np.mean(target(mean + eps @ L.T)) + np.log(np.diag(L)).sum() + entropy(d)
            if elbo > best[0]:
                best = (float(elbo), mean, L)
        lengths = 2.0 ** np.arange(3, -20, -1)
        values = target(x + lengths[:, None] * step)
        top = np.argmax(values)
        if not values[top] > value[0] or g[0] @ step < 1e-6:
            break
        x = x + lengths[top] * step
    return best


def entropy(d: int) -> float:
    return 0.5 * d * (1 + LOG_2PI)
