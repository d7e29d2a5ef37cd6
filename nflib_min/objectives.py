r"""What training minimizes and what it is judged by: free energy, evidence bounds, divergences.

Everything is in nats. Noise is drawn outside whatever is differentiated: a loss is a function of
the parameters and of z_0 already drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import autograd.numpy as anp
import numpy as np

from nflib_min._arrays import Array, Params, check_dim, check_finite
from nflib_min.distributions import score
from nflib_min.flow import Flow, dtype_of

if TYPE_CHECKING:  # a target is used by what it offers: the heart does not need that wing
    from nflib_min.targets import Target


def free_energy(params: Params, flow: Flow, target: Target, z0: Array, beta: float = 1.0) -> float:
    r"""The negative evidence lower bound, estimated from the given draws z_0 of the base.

    $F = E_{q_0}[\ln q_0(z_0)] - \beta\, E_{q_0}[\ln \tilde p(z_K)] -
    E_{q_0}\left[\sum_k \ln|1 + \hat u_k^\top \psi_k(z_{k-1})|\right]$ (15), (20)

    Parameters
    ----------
    params : the flow's, first because `autograd.grad` differentiates argument 0.
    z0 : (n, d), draws from flow.base.
    beta : inverse temperature of the target, 1 once annealing is over.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(StandardNormal(2), Affine(2))
    >>> z0 = flow.base.sample(4, np.random.default_rng(0))
    >>> target = Target(flow.base.log_prob, 2)
    >>> float(free_energy(flow.init(None), flow, target, z0))  # q = p, every term cancels
    0.0

    Source: Rezende & Mohamed (2015), eqs. (15) and (20).
    """
    zK, log_det = flow.bijection.forward_and_log_det(params, z0)
    return anp.mean(flow.base.log_prob(z0) - beta * target.log_density(zK) - log_det)


def elbo(params: Params, flow: Flow, target: Target, z0: Array) -> float:
    r"""The evidence lower bound $-F \le \ln Z$, from the given draws z_0.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(StandardNormal(1), Affine(1))
    >>> z0 = flow.base.sample(4, np.random.default_rng(0))
    >>> target = Target(lambda z: flow.base.log_prob(z) + 3.0, 1, log_normalizer=3.0)
    >>> float(elbo(flow.init(None), flow, target, z0))
    3.0

    Source: Rezende & Mohamed (2015), eq. (3).
    """
    return -free_energy(params, flow, target, z0)


def inverse_temperature(step: int, length: int = 10_000) -> float:
    r"""The annealing schedule $\beta_t = \min(1, 0.01 + t / 10000)$, which tempers the target.

    It multiplies the joint ln p(x, z), not the KL term as the warm-up of later papers does.

    >>> inverse_temperature(0), inverse_temperature(20_000)
    (0.01, 1.0)

    Source: Rezende & Mohamed (2015), eq. (20) and the text below it.
    """
    return min(1.0, 0.01 + step / length)


class FreeEnergy:
    r"""The loss that `fit` minimizes: eq. (15), annealed by eq. (20), with its gradient.

    The gradient goes through the flow by its pullback and through the target by its own gradient:
    with $F^\beta = \frac1n \sum_i [\ln q_0 - \beta \ln\tilde p(z_K) - \log\det]$, the pullback is
    called with $-\frac\beta n \nabla \ln\tilde p(z_K)$ and $-\frac1n$.

    Parameters
    ----------
    flow, target : as in `free_energy`; ValueError if their dims differ.
    batch : n, draws of z_0 a step.
    annealing : step -> beta_t, e.g. `inverse_temperature`; None for beta = 1.
    path_gradient : leave out the term of the gradient whose mean is 0. In
        $\frac{d}{d\phi} \ln q_\phi(z_K(\phi)) = \partial_\phi \ln q_\phi(z_K)
        + (\partial_\phi z_K)^\top s_K$, with the score $s_K = \nabla_z \ln q_\phi(z_K)$, the first
        term has mean $\int \partial_\phi q_\phi = 0$ and is noise alone. Without it the pullback is
        called with $\frac1n (s_K - \beta \nabla \ln\tilde p(z_K))$ and 0: the mean is the same, and
        where q = p every draw's gradient is exactly 0. `Bijection.forward_with_score` finds s_K
        without an inverse, at the cost of about one more forward pass for this library's maps.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> loss = FreeEnergy(flow := Flow(StandardNormal(2), Affine(2)), Target(flow.base.log_prob, 2))
    >>> value, gradient = loss.value_and_grad(flow.init(None), np.random.default_rng(0), step=0)
    >>> value, sorted(gradient)
    (0.0, ['log_scale', 'mean'])

    Source: Rezende & Mohamed (2015), eqs. (15) and (20), algorithm 1 without the inference network;
    path_gradient: Roeder, Wu & Duvenaud, Sticking the landing (2017), eq. (7).
    """

    def __init__(
        self,
        flow: Flow,
        target: Target,
        batch: int = 256,
        annealing: Callable[[int], float] | None = None,
        path_gradient: bool = False,
    ) -> None:
        if flow.dim != target.dim:
            raise ValueError(f"flow and target: expected one dim, got {flow.dim} and {target.dim}")
        self.flow, self.target, self.annealing = flow, target, annealing
        self.batch, self.path_gradient = check_dim(batch, "batch"), path_gradient

    def value_and_grad(
        self, params: Params, rng: np.random.Generator, step: int
    ) -> tuple[float, Params]:
        """F at beta = 1, which can be compared across steps, and the gradient of F^beta.

        FloatingPointError names the step and the term (ln q_0, ln p, log_det) not finite there.
        """
        beta = 1.0 if self.annealing is None else self.annealing(step)
        z0 = self.flow.base.sample(self.batch, rng, dtype_of(params))
        log_q0 = self.flow.base.log_prob(z0)
        f, term, n, sK = self.flow.bijection, "z_K", self.batch, None
        try:
            if self.path_gradient:
                s0 = score(self.flow.base, z0)
                zK, log_det, pullback, sK = f.forward_with_score(params, z0, s0)
            else:
                zK, log_det, pullback = f.forward_with_pullback(params, z0)
            check_finite(zK, "z_K")
            term = "ln p(z_K)"
            log_p, g_log_p = self.target.log_density_and_grad(zK)
        except ValueError as error:
            if "finite" not in str(error):
                raise
            raise FloatingPointError(
                f"step {step}: expected a finite {term}, got: {error}"
            ) from None
        value = float(np.add.reduce(log_q0 - log_p - log_det)) / n
        if not math.isfinite(value):
            terms = {"ln q_0": log_q0, "ln p(z_K)": log_p, "log_det": log_det}
            bad = [name for name, term in terms.items() if not np.isfinite(term).all()]
            raise FloatingPointError(
                f"step {step}: expected a finite free energy, got {value} "
                f"from the term {', '.join(bad) or 'ln q_0 - ln p - log_det'}"
            )
        if sK is None:
            g_zK, g_log_det = g_log_p * (-beta / n), np.full(n, -1 / n, log_det.dtype)
        else:
            g_zK, g_log_det = (sK - beta * g_log_p) / n, np.zeros_like(log_det)
        return value, pullback(g_zK, g_log_det)[0]


def log_weights(
    params: Params, flow: Flow, target: Target, n: int, rng: np.random.Generator
) -> Array:
    r"""n log importance weights $\ln w = \ln \tilde p(z_K) - \ln q_K(z_K)$, shape (n,).

    Their mean is the ELBO; the log of the mean weight estimates ln Z. A draw where the target is 0
    has weight 0: its log weight is -inf.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(StandardNormal(1), Affine(1))
    >>> log_w = log_weights(flow.init(None), flow, Target(flow.base.log_prob, 1), 3,
    ...                     np.random.default_rng(0))
    >>> log_w
    array([0., 0., 0.])

    Source: Rezende & Mohamed (2015), section 6.1 (importance sampling of -ln p(x)).
    """
    zK, log_q = flow.sample_and_log_prob(params, n, rng)
    return target.log_density(zK) - log_q


def kl_to_target(
    params: Params, flow: Flow, target: Target, n: int, rng: np.random.Generator
) -> tuple[float, float]:
    r"""$\mathrm{KL}(q_K \| p) = E_{q_K}[\ln q_K - \ln p]$ and its standard error, in nats.

    It is absolute: ValueError where the target's ln Z is not known, or n < 2. Where a draw meets a
    density of 0 it is inf.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(StandardNormal(1), Affine(1))
    >>> target = Target(flow.base.log_prob, 1, log_normalizer=0.0)
    >>> kl_to_target(flow.init(None), flow, target, 10, np.random.default_rng(0))
    (0.0, 0.0)

    Source: Rezende & Mohamed (2015), eq. (3): F = KL(q || p) - ln Z.
    """
    zK, log_q = flow.sample_and_log_prob(params, n, rng)
    return _mean_and_error(log_q - target.log_prob(zK))


def kl_from_target(
    params: Params, flow: Flow, target: Target, n: int, rng: np.random.Generator
) -> tuple[float, float]:
    r"""The forward $\mathrm{KL}(p \| q_K) = E_p[\ln p - \ln q_K]$ and its standard error, in nats.

    By exact draws from the target and the flow's true inverse, which see a mode that q has missed.
    ValueError where the target has no sampler or no ln Z.

    >>> from nflib_min.targets import Target
    >>> from nflib_min import Affine, StandardNormal
    >>> flow = Flow(base := StandardNormal(1), Affine(1))
    >>> target = Target(base.log_prob, 1, log_normalizer=0.0, sample=base.sample)
    >>> kl_from_target(flow.init(None), flow, target, 10, np.random.default_rng(0))
    (0.0, 0.0)

    Source: the divergence that eq. (3) of Rezende & Mohamed (2015) does not minimize.
    """
    z = target.sample(n, rng)
    return _mean_and_error(target.log_prob(z) - flow.log_prob(params, z))


def _mean_and_error(values: Array) -> tuple[float, float]:
    check_dim(len(values), "n", least=2)
    if np.isinf(values).any():
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
