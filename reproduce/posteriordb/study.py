"""`fit_posterior` on models that nobody tuned it for: is its verdict right?

`judge` is one call with default settings, held against the reference in the coordinates that were
fitted and in the model's own. `results.outcomes` says which verdicts were right.
"""

import time
from collections.abc import Callable

import numpy as np

from nflib_min import Affine
from nflib_min._arrays import Array
from nflib_min.posterior import fit_posterior
from nflib_min.posterior.given import FiniteTarget
from nflib_min.posterior.result import CHAINS, Posterior, moments
from nflib_min.posterior.verdict import GOOD, REFUSED, judged_by_weights
from nflib_min.targets import Target
from reproduce import posteriordb
from reproduce.runs import Task

SEEDS = 3
LEFT_OUT = ("bball_drive_event_0-hmm_drive_0",)  # takes minutes; its density is tested all the same


def judge(
    *, model: str, version: int, seed: int, gaussian: bool = False, steps: int = 3000
) -> dict:
    """One call of `fit_posterior`, and how far its answer is from the reference.

    gaussian : True for Gaussians alone, and necks as they are: worse fits for the judge to see.
    steps : as of `fit_posterior`.

    Returns
    -------
    verdict, reasons, k_hat, ess, missed, necks : of the posterior. r_hat : the chains' largest, or
    None. real, natural : the errors of the draws that it hands out, [mean in sd, sd], in z and in
    the model's own parameters. weights : the verdict and errors by weights alone, of the same fit.
    gradients, density : rows of each. seconds : of CPU. d, size, kind : of the model.
    """
    case, rows = posteriordb.load(model), {"gradients": 0, "density": 0}
    start = time.process_time()
    q = fit_posterior(
        counted(case.target, rows),
        rng=np.random.default_rng(seed),
        bijection=Affine(case.target.dim) if gaussian else None,
        uncentre=not gaussian,
        steps=steps,
    )
    seconds = time.process_time() - start
    if q.interrupted:
        raise KeyboardInterrupt
    reference = posteriordb.references()[model]
    best = max(q.stages, key=lambda stage: stage.elbo)
    alone = judged_by_weights(best, q.z, q.log_w, q.names)[0] if q.missed <= 0.01 else REFUSED
    return {
        "verdict": q.verdict,
        "reasons": q.reasons,
        "k_hat": round(q.k_hat, 3),
        "ess": round(best.ess, 4),
        "missed": round(q.missed, 4),
        "necks": [scale for scale, _ in q.necks],
        "r_hat": None if q.chains is None else round(float(q.chains.r_hat.max()), 4),
        "real": errors(lambda z: z, q, q.verdict, reference["real"]),
        "natural": errors(case.natural, q, q.verdict, reference["natural"]),
        "weights": {"verdict": alone, "real": errors(lambda z: z, q, alone, reference["real"])},
        **rows,
        "seconds": round(seconds, 2),
        "d": case.target.dim,
        "size": case.size,
        "kind": case.kind,
    }


def counted(target: Target, rows: dict[str, int]) -> Target:
    """The same target, which counts its rows; NaN is left to the one who asks."""
    finite = FiniteTarget(target)

    def density(z: Array) -> Array:
        rows["density"] += len(z)
        return target._log_density(z)

    def gradient(z: Array) -> tuple[Array, Array]:
        rows["gradients"] += len(z)
        return finite.log_density_and_grad(z)

    return Target(density, gradient=gradient, names=target.names, name=target.name)


def errors(
    natural: Callable[[Array], Array], q: Posterior, verdict: str, reference: dict
) -> list[float]:
    """The largest error of a mean, in sd, and of an sd, relative, of what a verdict hands out.

    Plain draws if it is "good", the chains' if it says so, else the weighted.
    """
    z, log_w = q.z, None if verdict == GOOD else q.log_w
    if verdict == CHAINS:
        z, log_w = q.chains.draws, None
    mean, sd = moments(natural(z), log_w)
    truth, spread = np.array(reference["mean"]), np.array(reference["sd"])
    off = np.abs(mean - truth) / spread, np.abs(sd / spread - 1)
    return [round(float(each.max()), 4) for each in off]


def tasks(quick: bool = False) -> list[Task]:
    """Every model with every seed, the first seed of all first; then once by Gaussians alone."""
    common = {"version": 1}
    if quick:
        return [Task(judge, common | {"model": next(iter(posteriordb.MODELS)), "steps": 50}, 0)]
    worse = common | {"gaussian": True, "steps": 500}
    models = [model for model in posteriordb.MODELS if model not in LEFT_OUT]
    each = [(common, seed) for seed in range(SEEDS)] + [(worse, 0)]
    return [
        Task(judge, settings | {"model": model}, seed)
        for settings, seed in each
        for model in models
    ]
