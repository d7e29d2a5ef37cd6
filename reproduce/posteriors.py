r"""Six real posteriors by five families: how far each is from the truth, as notebook 06 tells it.

`measure` is one call of `nflib_min.posterior.fit_posterior`, with a family of the task's choice,
held against the truth. `compare` trains one flow by one kind of gradient and batch.
`python -m reproduce posteriors` runs everything, half an hour on one core.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal, TriangularAffine, real_nvp
from nflib_min._arrays import Array, Params
from nflib_min._trees import tree_leaves
from nflib_min.bijections import Bijection
from nflib_min.objectives import FreeEnergy, kl_from_target
from nflib_min.posterior import Stage, fit_posterior
from nflib_min.targets import (
    Target,
    eight_schools,
    eight_schools_effects,
    eight_schools_moments,
    linear_regression,
    logistic_regression,
    neals_funnel,
)
from nflib_min.training import cosine_decay, fit
from nflib_min.weights import effective_sample_size, importance_weighted_bound, pareto_k
from reproduce.reference.nuts import LOGISTIC_PRIOR_SD, breast_cancer
from reproduce.reference.nuts import read as reference
from reproduce.runs import Task


# ---------------------------------------------------------------------------------- the truths
@dataclass(frozen=True)
class Truth:
    """A posterior with what is known of it, in the parameters that its users would report.

    model : with exact ln Z and draws where they exist. log_normalizer : exact, or by a long run.
    mean, sd : of natural(z), (p,) each. natural : (n, d) -> (n, p). pair : coordinates to draw.
    """

    model: Target
    log_normalizer: float
    mean: Array
    sd: Array
    natural: Callable[[Array], Array]
    pair: tuple[int, int]


def identity(z: Array) -> Array:
    return z


def exact(model: Target, pair: tuple[int, int]) -> Truth:
    return Truth(model, model.log_normalizer, model.mean, model.sd, identity, pair)


def schools(centred: bool) -> Truth:
    """Eight schools, reported as (mu, tau, theta): exact by quadrature."""
    model = eight_schools(centred)
    mean, sd = eight_schools_moments()
    pair = (2, 1)  # theta_1 (or eta_1) against ln tau
    return Truth(
        model,
        model.log_normalizer,
        mean,
        sd,
        lambda z: eight_schools_effects(z, centred),
        pair,
    )


def diabetes() -> Truth:
    """scikit-learn's diabetes data in the units they were collected in, all ten columns: exact.

    442 patients; the noise, 54 points of the score a year later, is taken as known: it is near the
    53.5 that least squares leaves. Source: Efron, Hastie, Johnstone & Tibshirani (2004).
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    X = np.column_stack([np.ones(len(data.data)), data.data])
    names = ("intercept", *data.feature_names)
    prior_sd = np.array([1000.0] + 10 * [100.0])
    pair = (5, 6)  # s1 and s2: total and LDL cholesterol
    return exact(linear_regression(X, data.target, 54.0, prior_sd, names), pair)


def iris() -> Truth:
    """Versicolor or virginica by the petals' length and width in cm, d = 3: by quadrature.

    Source: Fisher (1936); scikit-learn's copy.
    """
    from sklearn.datasets import load_iris

    data = load_iris()
    two = data.target > 0
    X = np.column_stack([np.ones(two.sum()), data.data[two][:, 2:]])
    names = ("intercept", "petal length", "petal width")
    return exact(logistic_regression(X, data.target[two] == 2, 10.0, names), (0, 1))


def cancer() -> Truth:
    """Ten features of breast tumours, d = 11: moments and ln Z of the stored run of NUTS."""
    X, y, names, _ = breast_cancer()
    stored = reference("logistic")
    model = logistic_regression(X, y, LOGISTIC_PRIOR_SD, names)
    mean, sd = np.array(stored["mean"]), np.array(stored["sd"])
    return Truth(model, stored["log_normalizer"]["value"], mean, sd, identity, (1, 4))


def log_density(model: Target, z: Array) -> Array:
    """ln p~ in parts of a thousand rows: a model with data makes (rows, data) arrays."""
    parts = np.array_split(z, 1 + len(z) // 1000)
    # the value that comes with the written gradient is the faster one
    return np.concatenate([model.log_density_and_grad(part)[0] for part in parts])


TRUTHS: dict[str, Callable[[], Truth]] = {
    "eight schools, centred": lambda: schools(centred=True),
    "eight schools, non-centred": lambda: schools(centred=False),
    "linear regression, diabetes": diabetes,
    "logistic regression, iris": iris,
    "logistic regression, cancer": cancer,
    "Neal's funnel": lambda: exact(neals_funnel(), (1, 0)),
}
FAMILIES: dict[str, Callable[[int], Bijection]] = {
    "mean-field": Affine,
    "full rank": TriangularAffine,
    "planar, K = 8": lambda d: Planar(d, 8),
    "planar, K = 32": lambda d: Planar(d, 32),
    "RealNVP": lambda d: real_nvp(d, 4),
}


# ------------------------------------------------------------------------------------ one task
def measure(
    *, target: str, family: str, steps: int, batch: int, draws: int, version: int, seed: int
) -> dict:
    """Fit one family by `fit_posterior` and hold it against the truth.

    Parameters
    ----------
    target, family : keys of TRUTHS and FAMILIES. steps, batch, draws : as of `fit_posterior`, which
        gives its Gaussians fewer steps, as a start for its flow: here they get as many as a flow.

    Returns
    -------
    What `examine` says; gradients, how often the target's gradient was evaluated, in rows; and for
    a flow the verdict, reasons and missed mass of the posterior.
    """
    truth = TRUTHS[target]()
    model, rows = truth.model, 0

    def gradient(z: Array) -> tuple[Array, Array]:
        nonlocal rows
        rows += len(z)
        return model._gradient(z)

    counted = Target(model._log_density, model.dim, gradient=gradient, name=model.name)
    rng, gaussian = np.random.default_rng(seed), family in ("mean-field", "full rank")
    posterior = fit_posterior(
        counted,
        rng=rng,
        names=list(model.names),
        bijection=FAMILIES[family](model.dim),
        steps=500 if gaussian else steps,
        batch=batch,
        draws=draws,
        check=False,  # the truth is known, and
        uncentre=False,  # the coordinates are the task's
    )
    if posterior.interrupted:
        raise KeyboardInterrupt
    stages = {stage.name: stage for stage in posterior.stages}
    if gaussian:
        stage = stages[family]
        flow, params = trained_on(stage, FAMILIES[family](model.dim), counted, steps, batch, rng)
        values = examine(flow, params, truth, draws, seed)
    else:
        stage = stages["flow"]
        values = examine(stage.flow, stage.params, truth, draws, seed)
        values |= {"verdict": posterior.verdict, "reasons": posterior.reasons}
        values |= {"missed": round(posterior.missed, 4)}
    return values | {"gradients": rows}


def trained_on(
    stage: Stage,
    f: Bijection,
    target: Target,
    steps: int,
    batch: int,
    rng: np.random.Generator,
) -> tuple[Flow, list]:
    """A Gaussian as it is and one more of its kind before it: the same family, in units that fit.

    The first one's mean is in units of the second one's scale, where one step size suits all.
    """
    if stage.ess > 1 - 1e-6:  # exact: Adam would walk away
        return stage.flow, stage.params
    flow = Flow(StandardNormal(f.dim), Chain([f, stage.flow.bijection]))
    loss = FreeEnergy(flow, target, batch, path_gradient=True)
    start = [f.init(rng), stage.params]
    rate = cosine_decay(1e-2, steps)
    run = fit(loss, start, steps, rng, learning_rate=rate, progress=False)
    if run.interrupted:
        raise KeyboardInterrupt
    return flow, run.params


def examine(flow: Flow, params: Params, truth: Truth, draws: int, seed: int) -> dict:
    r"""What one fitted family is worth, by fresh draws; nats and reference standard deviations.

    kl : KL(q || p) = ln Z - ELBO with its standard error. forward_kl : KL(p || q) likewise, None
    without exact draws. k_hat, ess : of the weights p/q, the latter as a share of the draws.
    mean, sd : the largest |E_q - E_p| / sd_p, and |sd_q / sd_p - 1|, over the natural parameters;
    weighted_mean, weighted_sd : the same by the smoothed weights. log_z : the error of their ln Z.
    draws : 200 of q, in the two coordinates of `truth.pair` (first seed only).
    """
    rng = np.random.default_rng([seed, 1])
    z, log_q = flow.sample_and_log_prob(params, draws, rng)
    log_p = log_density(truth.model, z)
    log_w = log_p - log_q
    k, smoothed = pareto_k(log_w)
    plain = errors(truth, z, np.full(draws, 1 / draws))
    weighted = errors(truth, z, np.exp(smoothed))
    forward = None
    if truth.model.log_normalizer is not None and truth.model._sample is not None:
        forward = rounded(kl_from_target(params, flow, truth.model, draws, rng))
    kl = truth.log_normalizer - log_w.mean(), log_w.std(ddof=1) / np.sqrt(draws)
    return {
        "kl": rounded(kl),
        "forward_kl": forward,
        "k_hat": round(k, 3),
        "ess": round(effective_sample_size(log_w) / draws, 5),
        "mean": plain[0],
        "sd": plain[1],
        "weighted_mean": weighted[0],
        "weighted_sd": weighted[1],
        "log_z": round(importance_weighted_bound(log_w) - truth.log_normalizer, 4),
    } | ({"draws": [rounded(row, 3) for row in z[:200, truth.pair]]} if seed == 0 else {})


def errors(truth: Truth, z: Array, w: Array) -> list[float]:
    """The largest errors of weighted means, in sd, and of weighted sds, relative."""
    x = truth.natural(z)
    mean = w @ x / w.sum()
    sd = np.sqrt(w @ (x - mean) ** 2 / w.sum())
    return rounded([np.abs((mean - truth.mean) / truth.sd).max(), np.abs(sd / truth.sd - 1).max()])


def rounded(values: object, digits: int = 4) -> list[float]:
    return [round(float(value), digits) for value in values]


# ----------------------------------------------------------------------- gradients and batches
def compare(
    *,
    target: str,
    path_gradient: bool,
    batch: int,
    gradients: int,
    rate: float,
    draws: int,
    version: int,
    seed: int,
) -> dict:
    """Train RealNVP, begun at a full-rank Gaussian's optimum, on a budget of target gradients.

    Parameters
    ----------
    target : a key of TRUTHS. path_gradient, batch : of `FreeEnergy`. gradients : steps times batch.
    rate : the step size that the cosine starts from.

    Returns
    -------
    kl : KL(q || p) with its standard error, in nats. noise : the length of the gradient's standard
    deviation between batches, at the end.
    """
    truth = TRUTHS[target]()
    model, rng = truth.model, np.random.default_rng(seed)
    d, steps = model.dim, gradients // batch
    gaussian = fit_posterior(
        model,
        rng=rng,
        bijection=Affine(d),
        steps=500,
        learning_rate=1e-3,
        check=False,
        uncentre=False,
    )
    f = Chain([real_nvp(d, 4), TriangularAffine(d)])
    flow, params = Flow(StandardNormal(d), f), f.init(rng)
    params[1] = next(stage.params for stage in gaussian.stages if stage.name == "full rank")
    loss = FreeEnergy(flow, model, batch, path_gradient=path_gradient)
    run = fit(loss, params, steps, rng, learning_rate=cosine_decay(rate, steps), progress=False)
    if run.interrupted:
        raise KeyboardInterrupt
    each = [tree_leaves(loss.value_and_grad(run.params, rng, steps)[1]) for _ in range(50)]
    g = np.array([np.concatenate([part.ravel() for _, part in tree]) for tree in each])
    kl = examine(flow, run.params, truth, draws, seed)["kl"]
    return {"kl": kl, "noise": float(np.sqrt(g.var(axis=0, ddof=1).sum()))}


# ------------------------------------------------------------------------------------ all tasks
SEEDS = 3
COMMON = {"version": 1, "steps": 5000, "batch": 256, "draws": 20_000}


def tasks(quick: bool = False) -> list[Task]:
    """Every target by every family, the first seed of all first.

    No flow on the diabetes data: their posterior is Gaussian, and `fit_posterior` trains none.
    """
    common = COMMON | ({"steps": 50, "batch": 32, "draws": 1000} if quick else {})
    return [
        Task(measure, common | {"target": target, "family": family}, seed)
        for seed in range(1 if quick else SEEDS)
        for target in TRUTHS
        for family in FAMILIES
        if "diabetes" not in target or family in ("mean-field", "full rank")
    ]


def comparisons(quick: bool = False) -> list[Task]:
    """Both gradients at three batches, for 150,000 gradients of two targets."""
    common = {"version": 1, "gradients": 150_000, "draws": 20_000, "rate": 5e-3}
    common |= {"gradients": 1500, "draws": 1000} if quick else {}
    return [
        Task(compare, common | {"target": target, "path_gradient": path, "batch": batch}, seed)
        for seed in range(1 if quick else SEEDS)
        for target in ("logistic regression, cancer", "eight schools, centred")
        for batch in (32, 128, 512)
        for path in (False, True)
    ]
