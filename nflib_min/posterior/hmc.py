"""Many short chains of Hamiltonian Monte Carlo: the judge of a fit, and its repair."""

from dataclasses import dataclass, replace

import numpy as np

from nflib_min._arrays import Array, check_dim, check_points, check_rng
from nflib_min.bijections import Bijection
from nflib_min.posterior.given import FiniteTarget
from nflib_min.targets import Target

ACCEPT = 0.8  # the share of moves that the step size aims at
REACH = 4.0  # the longest trajectory in standard deviations: half a turn of a Gaussian is 3.1
MOST_LEAPS = 12


@dataclass
class Chains:
    """What `short_chains` returns.

    z : draws after the warm-up, (chains, iterations, d). starts : (chains, d).
    accepted : the share of moves, after the warm-up. step : of the leapfrog, in whitened units.
    gradients : how many rows were evaluated.

    >>> from nflib_min.targets import Gaussian
    >>> rng = np.random.default_rng(0)
    >>> chains = short_chains(Gaussian(np.zeros(1), np.eye(1)), 0.5 * rng.normal(size=(99, 1)), rng)
    >>> chains.z.shape, bool(chains.accepted > 0.6), bool(chains.draws.std() > 0.8)
    ((99, 160, 1), True, True)

    Source: see `short_chains`.
    """

    z: Array
    starts: Array
    accepted: float
    step: float
    gradients: int

    @property
    def draws(self) -> Array:
        """All draws in one array, (chains * iterations, d)."""
        return self.z.reshape(-1, self.z.shape[-1])

    def through(self, f: Bijection) -> "Chains":
        """The same chains in the coordinates f(z), f a map without parameters."""
        none = f.init(np.random.default_rng(0))
        z = f.forward(none, self.draws).reshape(self.z.shape)
        return replace(self, z=z, starts=f.forward(none, self.starts))

    @property
    def r_hat(self) -> Array:
        """Split R-hat a coordinate, (d,)."""
        return split_r_hat(self.z)


def split_r_hat(z: Array) -> Array:
    r"""Split R-hat of chains, (m, n, d) -> (d,): 1 where all halves of chains tell the same.

    With W the mean variance within the 2m half-chains of length h and B the variance of their
    means, $\hat R = \sqrt{\frac{h - 1}{h} + B / W}$. NaN where nothing moves.

    Errors: ValueError unless z has three axes, at least two chains and four draws each.

    >>> chains = np.random.default_rng(0).standard_normal((100, 200, 1))
    >>> split_r_hat(chains).round(1), bool(split_r_hat(chains + np.eye(100)[:, :1, None])[0] > 1)
    (array([1.]), True)

    Source: Gelman, Carlin, Stern, Dunson, Vehtari & Rubin, Bayesian data analysis (2013),
    section 11.4.
    """
    z = np.asarray(z, float)
    if z.ndim != 3 or z.shape[0] < 2 or z.shape[1] < 4:
        raise ValueError(f"z: expected (chains >= 2, draws >= 4, d), got shape {z.shape}")
    h = z.shape[1] // 2
    halves = np.concatenate([z[:, :h], z[:, -h:]])
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((h - 1) / h + between / within)


def short_chains(
    target: Target,
    starts: Array,
    rng: np.random.Generator,
    *,
    covariance: Array | None = None,
    warmup: int = 80,
    iterations: int = 160,
) -> Chains:
    r"""One chain of HMC from every start, all side by side, whitened by one linear map.

    With $z = L u$, $L L^\top$ the covariance, a move draws a momentum $r \sim N(0, I)$, follows
    $H(u, r) = -\ln \tilde p(L u) + \frac12 |r|^2$ by leapfrog steps, and is accepted with
    probability $\min(1, e^{-\Delta H})$. All chains share a step size, which aims at 80 % in the
    warm-up, and the number of steps, drawn anew for every move; each shortens its step at random.

    Started from draws of a fit these chains stay where they are if the fit is right, and wander if
    it is not. The map must be linear: in the coordinates of a flow the places that it pushes away
    are as far for the chains as for its own draws.

    Parameters
    ----------
    target : ln p~ with its gradient; NaN and -inf count as 0 density. starts : (m, d), m >= 2.
    covariance : (d, d) of the whitening; None for that of the starts.
    warmup, iterations : moves that set the step size and are dropped, and moves that are kept.

    Errors: ValueError if no start has a finite density, a gradient is not finite where the density
    is, or next to no move is accepted however short, as with a gradient that is not the density's.

    >>> from nflib_min.targets import Gaussian
    >>> target = Gaussian(np.array([5.0, 0.0]), np.array([[4.0, 1.9], [1.9, 1.0]]))
    >>> rng = np.random.default_rng(0)
    >>> chains = short_chains(target, target.sample(128, rng), rng)
    >>> bool(chains.r_hat.max() < 1.02), np.abs(chains.z.mean(axis=(0, 1)) - [5, 0]).round(0)
    (True, array([0., 0.]))

    Source: Neal, MCMC using Hamiltonian dynamics (2011), sections 2-4; many short chains:
    Margossian et al., Nested R-hat (2024).
    """
    check_rng(rng)
    check_points(starts, target.dim, "starts")
    warmup, iterations = check_dim(warmup, "warmup"), check_dim(iterations, "iterations", least=4)
    finite = FiniteTarget(target)
    spread = np.cov(starts.T).reshape(target.dim, -1) if covariance is None else covariance
    L = whitening(spread)
    value, g = gradients_at(finite, starts)
    bad = np.isfinite(value) & ~np.isfinite(g).all(axis=1)
    if bad.any():
        i = int(np.argmax(bad))
        slope, place = (np.array2string(row[i], precision=3, threshold=6) for row in (g, starts))
        raise ValueError(
            f"gradient: expected finite numbers where log_density is finite, got {slope} at {place}"
        )
    alive = np.isfinite(value)
    if alive.sum() < 2:
        raise ValueError(
            f"log_density: expected a finite value at two starts of the chains at least, got "
            f"{alive.sum()} of {len(starts)}"
        )
    z, value, g, rows = starts[alive], value[alive], g[alive], len(starts)
    kept, rate, step = np.empty((len(z), iterations, target.dim)), [], 0.5 / target.dim**0.25
    for t in range(-warmup, iterations):
        leaps = 1 + rng.integers(min(MOST_LEAPS, max(1, int(REACH / step))))
        eps = step * rng.uniform(0.5, 1, (len(z), 1))
        r = rng.standard_normal(z.shape)
        new_z, new_value, new_g, energy = z, value, g, value - 0.5 * np.sum(r * r, axis=1)
        with np.errstate(all="ignore"):
            for _ in range(leaps):
                r = r + 0.5 * eps * (new_g @ L)
                new_z = new_z + (eps * r) @ L.T
                new_value, new_g = gradients_at(finite, new_z)
                r = r + 0.5 * eps * (new_g @ L)
            # where the gradient is NaN, so is r, and the move is turned back
            energy = new_value - 0.5 * np.sum(r * r, axis=1) - energy
            chance = np.where(np.isfinite(energy), np.exp(np.minimum(energy, 0)), 0)
        moved = rng.random(len(z)) < chance
        z, g = np.where(moved[:, None], new_z, z), np.where(moved[:, None], new_g, g)
        value, rows = np.where(moved, new_value, value), rows + int(leaps) * len(z)
        if t < 0:
            step *= np.exp((chance.mean() - ACCEPT) * 2 / np.sqrt(1 + (t + warmup) / 8))
        else:
            kept[:, t] = z
            rate.append(chance.mean())
    if np.mean(rate) < 0.1 or step < 1e-5:
        raise ValueError(
            f"gradient: expected one along which moves of the chains are accepted, got "
            f"{np.mean(rate):.0%} at a step of {step:.1g} sd: is it the density's own?"
        )
    return Chains(kept, starts[alive], float(np.mean(rate)), float(step), rows)


def whitening(covariance: Array) -> Array:
    """L with L L^T the covariance, widened a little where it is flat to rounding."""
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    correlation = covariance / np.outer(scale, scale)
    return scale[:, None] * np.linalg.cholesky(correlation + 1e-8 * np.eye(len(scale)))


def gradients_at(target: FiniteTarget, z: Array) -> tuple[Array, Array]:
    """ln p~ and its gradient; -inf and 0 where there is no density."""
    value, g = target.log_density_and_grad(z)
    return value, np.where(np.isfinite(value)[:, None], g, 0)
