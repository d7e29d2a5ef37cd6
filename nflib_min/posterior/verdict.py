"""What a fit is worth: the weights' tail, what reweighting changes, and what the fit may miss."""

import numpy as np

from nflib_min._arrays import Array
from nflib_min.bijections import Bijection
from nflib_min.constraints import unconstrained_names
from nflib_min.posterior.check import Word, ask_chains
from nflib_min.posterior.families import NECK_DRAWS, Fitter
from nflib_min.posterior.given import FiniteTarget, in_chunks
from nflib_min.posterior.islands import distinct
from nflib_min.posterior.necks import find_necks
from nflib_min.posterior.result import CHAINS, GOOD, Posterior, Stage, moments, on_users_scale
from nflib_min.posterior.start import LOG_2PI
from nflib_min.posterior.tails import StudentT, degrees_of_freedom
from nflib_min.weights import k_limit, pareto_k

USABLE, REFUSED = "usable with importance weights", "do not trust"
GOOD_K = 0.5  # k-hat below this: the weights have a finite variance
IDLE = 0.99  # an effective share of draws at which the shape of the weights' tail is idle
STEADY = 0.97  # and one at which weights are believed where chains do not mix
FAIR = 0.95  # and one below which weights alone, without the chains, do not make a fit usable
ROUNDING = 1e-3  # nats between neighboring numbers at which the weights are noise
MIXED = 1.1  # R-hat below this: the chains tell one story
SETTLED = 1.05  # and below this they are an answer of their own
CLOSE = 0.08  # of a mean, in sd, and of an sd, relative: answers that may be handed out as they are
FINITE = 1.9  # degrees of freedom below which an sd is infinite, as far as 64 widths tell
NEAR = 0.15  # and answers that the chains support, whose own error is a part of it


def verdict_of(
    fitter: Fitter,
    gaussians: list[tuple[Array, Array]],
    names: list[str],
    rng: np.random.Generator,
    check: bool,
    transform: Bijection | None,
) -> Posterior:
    """The posterior of a fit. All that is reported is judged: with a transform, both scales."""
    if not fitter.stages:
        raise ValueError("log_density: no family could be fitted; " + "; ".join(fitter.reasons))
    best = fitter.best()
    z, log_p, log_q = fitter.draws(best.flow, best.params)
    smoothed = pareto_k(log_p - log_q)[1]
    inner = names if transform is None else unconstrained_names(transform, names)

    def reported(z: Array) -> Array:
        if transform is None:
            return z
        return np.hstack([transform.forward(transform.init(rng), z), z])

    judged = reported
    if isinstance(best.flow.base, StudentT):  # the sd of a few thousand draws says little there
        low, middle, high = np.quantile(reported(z), (0.16, 0.5, 0.84), axis=0)

        def judged(z: Array) -> Array:
            return np.arcsinh(2 * (reported(z) - middle) / (high - low))

    finite = FiniteTarget(fitter.target)
    missed = missed_mass(best, finite, gaussians, fitter.gaussian, (z, log_p, log_q), rng)
    against, notes = [], list(fitter.reasons)  # what nothing can repair, and what is worth saying
    if missed > 0.01:
        way_on = "" if fitter.mix or len(distinct(gaussians)) < 2 else "; mix=True fits islands"
        against.append(
            f"draws around {len(gaussians)} starts and far out found {missed:.0%} of the mass "
            f"where the fit has less than a twentieth of it: a missed mode, or a heavy tail{way_on}"
        )
    largest = np.abs(log_p).max()
    if np.spacing(largest) > ROUNDING:
        against.append(
            f"log densities of size {largest:.0e}: their differences are lost in rounding"
        )
    dof = min(map(np.min, degrees_of_freedom(finite, *fitter.gaussian, rng)))
    hopeless = dof < 0.05
    if hopeless:
        against.append("the density does not fall off far out: it cannot be normalized")
    elif dof < FINITE:
        against.append(f"the tail is that of {dof:.1f} degrees of freedom: no sd, or mean, exists")
    by_weights, doubts = judged_by_weights(best, judged(z), smoothed, [*names, *inner])
    word = None
    if check and not hopeless and not fitter.interrupted and not fitter.exact():
        try:
            word = ask_chains(fitter.target, fitter.necks, z, smoothed, rng, judged)
        except KeyboardInterrupt:
            fitter.interrupted = True
        except ValueError as error:
            doubts.append(f"the chains' check failed: {error}")
            by_weights = USABLE if by_weights == GOOD else by_weights
    if fitter.interrupted:
        notes.insert(0, "it was interrupted before its end")
        by_weights = USABLE if by_weights == GOOD else by_weights
    verdict = by_weights
    if word is not None:
        if 0.01 < missed < 0.1 and word.r_hat < MIXED and reached(word, best, finite) > missed / 2:
            against = []  # it hangs together with the rest, and the chains have been there
        verdict, doubts = judged_by_chains(word, best, by_weights, doubts, names)
        if word.r_hat >= MIXED:
            doubts += advice(fitter, z, smoothed, names, rng)
    if against:
        verdict = REFUSED
    q = Posterior(
        best.flow,
        best.params,
        inner,
        fitter.stages,
        z,
        log_p,
        smoothed,
        best.k_hat,
        missed,
        verdict,
        against + doubts + notes,
        fitter.interrupted,
        None if word is None else word.chains,
        [(inner[neck.scale], [inner[j] for j in neck.members]) for neck in fitter.necks],
    )
    return q if transform is None else on_users_scale(q, transform, names)


def judged_by_weights(
    best: Stage, z: Array, smoothed: Array, names: list[str]
) -> tuple[str, list[str]]:
    """The verdict that k-hat, ESS and what reweighting changes give, and the reasons for it."""
    doubts, limit, verdict = [], k_limit(len(z)), GOOD
    if best.k_hat >= GOOD_K and best.ess <= IDLE:
        heavy = best.k_hat >= limit
        verdict = REFUSED if heavy or best.ess < FAIR else USABLE
        end = ": the weights' tail is too heavy to correct the draws" if heavy else ""
        share = f", and the draws are worth {best.ess:.0%} of as many" if best.ess < FAIR else ""
        shown = f"{limit if heavy else GOOD_K:.2f}"
        doubts.append(f"k-hat is {best.k_hat:.2f}, not below {shown}{end}{share}")
    mean, sd = moments(z, None)
    true_mean, true_sd = moments(z, smoothed)
    shift, stretch = np.abs(mean - true_mean) / sd, np.abs(true_sd / sd - 1)
    if shift.max() > 0.05:
        doubts.append(
            f"reweighting moves the mean of {names[np.argmax(shift)]} by {shift.max():.2f} sd"
        )
    if stretch.max() > 0.07:
        doubts.append(
            f"reweighting changes the sd of {names[np.argmax(stretch)]} by {stretch.max():.0%}"
        )
    return USABLE if doubts and verdict == GOOD else verdict, doubts


def judged_by_chains(
    word: Word, best: Stage, by_weights: str, doubts: list[str], names: list[str]
) -> tuple[str, list[str]]:
    """The verdict where the chains have spoken, and the reasons for it.

    Chains that tell one story decide: the plain draws if theirs is the same, else the weighted,
    else the chains themselves. Where they do not, only weights that hardly vary are believed.
    """
    if word.r_hat < MIXED:
        if word.agrees(False, CLOSE):
            return GOOD, []
        if by_weights != REFUSED and word.agrees(True, NEAR):
            return USABLE, doubts or ["the chains differ a little from the plain draws"]
        found = f"means differ by up to {word.off[1]:.2f} sd, sds by {word.wide[1]:.0%}"
        said = f"the chains agree with each other and not with the fit: {found}"
        return (CHAINS if word.r_hat < SETTLED else REFUSED), [said]
    said = (
        f"the chains do not agree with each other: R-hat of {names[word.worst]} is "
        f"{word.r_hat:.2f}, not below {MIXED:.2f}"
    )
    trusted = by_weights != REFUSED and best.ess >= STEADY and word.agrees(True, NEAR)
    return by_weights if trusted else REFUSED, [said, *doubts]


def reached(word: Word, best: Stage, target: FiniteTarget) -> float:
    """The share of the chains' draws where q is below p / 20, relative to where most draws are."""
    z = word.chains.draws[:: max(1, len(word.chains.draws) // 4000)]
    log_w = target(z) - in_chunks(lambda y: best.log_prob(y), z)
    return float(np.mean(log_w - np.median(log_w) > np.log(20)))


def advice(
    fitter: Fitter, z: Array, smoothed: Array, names: list[str], rng: np.random.Generator
) -> list[str]:
    """What to do about necks that the draws show and the fit has not taken out."""
    w = np.exp(smoothed)
    drawn = z[rng.choice(len(z), NECK_DRAWS, p=w / w.sum())]
    known = {neck.scale for neck in fitter.necks}
    found = [n for n in find_necks(fitter.target, drawn, z.std(axis=0)) if n.scale not in known]
    members = [narrow([names[j] for j in neck.members]) for neck in found]
    return [
        f"{names[neck.scale]}: its neck is not covered; where {who} with it, "
        "write theta = mu + tau * eta"
        for neck, who in zip(found, members, strict=True)
    ]


def narrow(names: list[str]) -> str:
    """The subject and verb of a neck's members.

    >>> narrow(["a"]), narrow(["a", "b"]), narrow(["a", "b", "c"])
    ('a narrows', 'a and b narrow', 'a and 2 more narrow')
    """
    if len(names) == 1:
        return f"{names[0]} narrows"
    return f"{names[0]} and {names[1] if len(names) == 2 else f'{len(names) - 1} more'} narrow"


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
