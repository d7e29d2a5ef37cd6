"""What a fit is worth: the weights' tail, what reweighting changes, and what the fit may miss."""

import numpy as np

from nflib_min._arrays import Array
from nflib_min.posterior.families import Fitter
from nflib_min.posterior.given import FiniteTarget, in_chunks
from nflib_min.posterior.result import Posterior, Stage, moments
from nflib_min.posterior.start import LOG_2PI
from nflib_min.weights import k_limit, pareto_k

GOOD, USABLE, REFUSED = "good", "usable with importance weights", "do not trust"
GOOD_K = 0.5  # k-hat below this: the weights have a finite variance


def verdict_of(
    fitter: Fitter, gaussians: list[tuple[Array, Array]], names: list[str], rng: np.random.Generator
) -> Posterior:
    if not fitter.stages:
        raise ValueError("log_density: no family could be fitted; " + "; ".join(fitter.reasons))
    best = max(fitter.stages, key=lambda stage: stage.elbo)
    z, log_p, log_q = fitter.draws(best.flow, best.params)
    log_w = log_p - log_q
    smoothed = pareto_k(log_w)[1]
    finite = FiniteTarget(fitter.target)
    missed = missed_mass(best, finite, gaussians, (fitter.mean, fitter.L), (z, log_p, log_q), rng)
    against, weighable = [], []  # reasons not to trust it at all, and not to trust it unweighted
    limit = k_limit(len(z))
    if best.k_hat >= limit and best.ess > 0.999 and missed < 0.001:
        # k-hat is the shape of the tail and not its size, and this tail has next to no weight
        weighable.append(f"k-hat is {best.k_hat:.2f}, of weights that vary by less than 4 %")
    elif best.k_hat >= limit:
        against.append(
            f"k-hat is {best.k_hat:.2f}, not below {limit:.2f}: the weights' tail is "
            "too heavy to correct the draws"
        )
    elif best.k_hat >= GOOD_K:
        weighable.append(f"k-hat is {best.k_hat:.2f}, not below {GOOD_K:.2f}")
    mean, sd = moments(z, None)
    true_mean, true_sd = moments(z, smoothed)
    shift, stretch = np.abs(mean - true_mean) / sd, np.abs(true_sd / sd - 1)
    if shift.max() > 0.05:
        weighable.append(
            f"reweighting moves the mean of {names[np.argmax(shift)]} by {shift.max():.2f} sd"
        )
    if stretch.max() > 0.07:
        weighable.append(
            f"reweighting changes the sd of {names[np.argmax(stretch)]} by {stretch.max():.0%}"
        )
    if missed > 0.01:
        against.append(
            f"draws around {len(gaussians)} starts and far out found {missed:.0%} of the mass "
            "where the fit has less than a twentieth of it: a missed mode, or a heavy tail"
        )
    if grows_without_end(finite, fitter.mean, fitter.L, rng):
        against.append("the density does not fall off far out: it cannot be normalized")
    if fitter.interrupted:
        weighable.append("training was interrupted before its end")
    verdict = REFUSED if against else USABLE if weighable else GOOD
    return Posterior(
        best.flow,
        best.params,
        names,
        fitter.stages,
        z,
        log_p,
        smoothed,
        best.k_hat,
        missed,
        verdict,
        against + weighable + fitter.reasons,
        fitter.interrupted,
    )


def missed_mass(
    stage: Stage,
    target: FiniteTarget,
    gaussians: list[tuple[Array, Array]],
    gaussian: tuple[Array, Array],
    own: tuple[Array, Array, Array],
    rng: np.random.Generator,
) -> float:
    r"""The share of the mass of p found where q is below p / 20.

    Draws of the mixture $m = \sum_j \frac{n_j}{N} r_j$ of q itself, of the Gaussian around every
    start and of wide copies of the fitted one; with weights $p / m$ they see what those of q see,
    and whatever of the rest any r_j can reach.
    """
    probes = [(500, mean, L) for mean, L in gaussians]
    probes += [(500, gaussian[0], scale * gaussian[1]) for scale in (2.0, 4.0, 16.0)]
    drawn = [mean + rng.standard_normal((n, len(mean))) @ L.T for n, mean, L in probes]
    z = np.concatenate([own[0], *drawn])
    beyond = z[len(own[0]) :]
    log_p = np.concatenate([own[1], target(beyond)])
    log_q = np.concatenate([own[2], in_chunks(lambda y: stage.log_prob(y), beyond)])
    parts = [np.log(len(own[0])) + log_q]
    for n, mean, L in probes:
        y = np.linalg.solve(L, (z - mean).T)
        log_r = -0.5 * np.sum(y * y, axis=0) - np.log(np.diag(L)).sum() - LOG_2PI * len(mean) / 2
        parts.append(np.log(n) + log_r)
    log_w = log_p - np.logaddexp.reduce(parts)  # their sum estimates Z
    log_Z = np.logaddexp.reduce(log_w)
    return float(np.exp(log_w - log_Z)[log_p - log_q - log_Z > np.log(20)].sum())


def grows_without_end(
    target: FiniteTarget, mean: Array, L: Array, rng: np.random.Generator
) -> bool:
    r"""True if a Gaussian's ELBO does not fall when it is stretched from 8 to 64 times its width.

    The entropy gains ln s for each stretched direction. A density that can be normalized loses
    more: even one with tails $|z|^{-1-\nu}$ loses $(1 + \nu) \ln s$. The directions are the
    Gaussian's principal axes, one by one and all together.
    """
    axes, widths, _ = np.linalg.svd(L)
    eps = rng.standard_normal((200, len(mean)))
    picks = [*np.eye(len(mean)), np.ones(len(mean))]

    def elbo(stretch: Array) -> float:
        values = target(mean + (eps * widths * stretch) @ axes.T)
        return float(np.mean(values) + np.log(stretch).sum())

    return any(elbo(64.0**pick) > elbo(8.0**pick) - 0.1 for pick in picks)
