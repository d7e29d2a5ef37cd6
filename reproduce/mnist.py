r"""Figure 4 and table 2: deep latent Gaussian models of binarised digits, by flow and length K.

Every model is trained once, along one trunk that keeps its optimizer's state, and looked at on the
way: `epochs` of a task says where. So the gain that a flow brings can be read against the length
of training, and a longer training goes on where a shorter one ended.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from nflib_min import Planar, Radial
from nflib_min._arrays import Array
from nflib_min.amortized import (
    AmortizedFreeEnergy,
    ConditionalNICE,
    DeepLatentGaussianModel,
    InferenceNetwork,
    init,
    log_evidence,
    log_weights,
)
from nflib_min.bijections import Bijection
from nflib_min.objectives import inverse_temperature
from nflib_min.planar import GAIN
from nflib_min.training import fit
from reproduce.mnist_data import binarise, load
from reproduce.results import sha256
from reproduce.runs import Task, run

DIM, HIDDEN, BATCH = 40, 400, 100
BINARISATION_SEED = 2015
PARTS = 100
LEARNING_RATE, DECAY_STEPS = 2e-3, 3000
AVERAGE = 0.05  # the running mean is over the last twentieth of the steps
CLIP = 200.0  # the gradient of F is about 50 long all through training: only accidents are cut
# where every trunk is looked at, and on how many test digits with 200 and with 5,000 draws
EPOCHS = {
    10: (2000, 0),
    20: (2000, 0),
    40: (10_000, 0),
    80: (10_000, 1000),
    160: (10_000, 0),
    320: (10_000, 1000),
    833: (10_000, 1000),
}
ROWS = [("none", 0)] + [(flow, K) for flow in ("planar", "nice-perm") for K in (10, 80, 20, 40)]
ROWS += [("radial", 10)]  # not in the paper's table
# (flow, K): trained on pixels that are drawn once for all, as in the paper, where EPOCHS says
ONE_DRAW, ONE_DRAW_EPOCHS = (("none", 0), ("planar", 10), ("planar", 80)), (40, 80, 160, 320)
# (epochs, flow, K, change): the choices of the recipe, one changed at a time
ABLATIONS = (
    (10, "none", 0, {"path_gradient": False}),
    (10, "planar", 10, {"path_gradient": False}),
    (10, "planar", 20, {"path_gradient": False}),
    (10, "planar", 20, {"average": 0.2}),
    (10, "planar", 20, {"printed_constraint": True}),
    (10, "planar", 20, {"amortized": False}),
    (10, "planar", 20, {"learning_rate": 0.3 * LEARNING_RATE}),
    (10, "planar", 20, {"learning_rate": 3 * LEARNING_RATE}),
    (10, "radial", 20, {}),
    (40, "planar", 20, {"annealing": True}),
)


def flow_of(flow: str, K: int, printed_constraint: bool, seed: int) -> Bijection | None:
    """The bijection after q_0: K layers in d = 40 dimensions; None for "none".

    >>> flow_of("planar", 10, False, 0)
    Planar(40, length=10)
    """
    if flow == "none":
        return None
    if flow == "planar":
        return Planar(DIM, K, gain=1.0 if printed_constraint else GAIN)
    if flow == "radial":
        return Radial(DIM, K)
    if flow == "nice-perm":
        return ConditionalNICE(DIM, K, np.random.default_rng([seed, K]))
    raise ValueError(f"flow: expected none, planar, radial or nice-perm, got {flow!r}")


@lru_cache(maxsize=1)
def digits(mnist: str | None) -> tuple[Array, Array, Array]:
    """60,000 grey digits, uint8; these, and 10,000 more, binarised by one seeded draw, bool."""
    images, rng = load(mnist), np.random.default_rng(BINARISATION_SEED)
    once = binarise(images["train_images"], rng)
    return images["train_images"], once, binarise(images["test_images"], rng)


def mnist(
    flow: str,
    K: int,
    epochs: int,
    seed: int,
    images: int = 2000,
    images_5000: int = 0,
    redraw: bool = False,
    annealing: bool = False,
    printed_constraint: bool = False,
    amortized: bool = True,
    learning_rate: float = LEARNING_RATE,
    path_gradient: bool = True,
    average: float = AVERAGE,
    data: str | None = None,
    trunk: str | None = None,
) -> dict:
    r"""Train one model up to an epoch and judge it on test digits, in nats.

    Parameters
    ----------
    flow, K : see `flow_of`. epochs : of 600 steps with 100 digits.
    images : how many of the 10,000 test digits, from the first, are judged with 200 draws each.
    images_5000 : how many are judged with 5,000 draws as well.
    redraw : binarise the training digits anew at each meeting, in place of once and for all.
    annealing : eq. (20) as printed. printed_constraint : appendix A as printed (E4).
    amortized : False shares the flow's parameters among all x. learning_rate : at the start; it
        falls as $1 / \sqrt{1 + t / 3000}$.
    path_gradient : leave out the gradient's term of mean 0. average : the share of the steps that
        the running mean of the parameters is over.
    data : the folder of the IDX files. trunk : a folder for the optimizer's states.

    Returns F_train (the last epoch's mean), and of the running mean of the parameters F, nll
    (-ln p by importance sampling with 200 draws), KL = F - nll, each with a standard error over
    digits (F_se, nll_se, KL_se), and nll_5000 with nll_200_of_these on the first images_5000.
    F_parts, nll_parts are the means over PARTS parts of the digits, by which two models that were
    judged on the same digits are compared, see `parts`.

    Errors: ValueError on an unknown flow, or a trunk that is already longer than `epochs`.

    Source: Rezende & Mohamed (2015), section 6.2, figure 4 and table 2.
    """
    grey, once, test = digits(data)
    model = DeepLatentGaussianModel(DIM, test.shape[1], (HIDDEN,))
    bijection = flow_of(flow, K, printed_constraint, seed)
    network = InferenceNetwork(test.shape[1], DIM, bijection, (HIDDEN,), amortized)
    x, draw = (grey, binarise) if redraw else (once, None)
    tempered = inverse_temperature if annealing else None
    loss = AmortizedFreeEnergy(model, network, x, BATCH, tempered, seed, draw, path_gradient)
    checkpoint = None
    if trunk is not None:
        same = [flow, K, seed, redraw, annealing, printed_constraint, amortized, learning_rate]
        same += [path_gradient, average]
        checkpoint = Path(trunk) / f"{flow}-{K}-{sha256(same)[:8]}.npz"
    steps = epochs * loss.steps_per_epoch
    rng = np.random.default_rng(seed)
    result = fit(
        loss,
        init(model, network, rng, np.float32),
        steps,
        rng,
        learning_rate=lambda t: learning_rate / (1 + t / DECAY_STEPS) ** 0.5,
        clip=CLIP,
        average=average,
        checkpoint=checkpoint,
        checkpoint_every=2 * loss.steps_per_epoch,
        progress=False,
    )

    judge = np.random.default_rng([seed, epochs])
    log_w = log_weights(result.mean_params, model, network, test[:images], 200, judge)
    F, nll = -log_w.mean(axis=1, dtype=float), -log_evidence(log_w)
    values = {"F_train": float(result.history["loss"][-loss.steps_per_epoch :].mean())}
    for name, of_each in (("F", F), ("nll", nll), ("KL", F - nll)):
        values[name] = float(of_each.mean())
        values[f"{name}_se"] = float(of_each.std(ddof=1) / len(of_each) ** 0.5)
    values |= {"F_parts": parts(F), "nll_parts": parts(nll)}
    if images_5000:
        log_w = log_weights(result.mean_params, model, network, test[:images_5000], 5000, judge)
        values["nll_5000"] = float(-log_evidence(log_w).mean())
        values["nll_200_of_these"] = float(nll[:images_5000].mean())
    return values


def parts(of_each: Array) -> list[float]:
    """Means over PARTS parts of the digits, digit i in part i mod PARTS, to a ten-thousandth.

    Two models see the same digits, so their difference varies far less from digit to digit than
    either does. The parts are enough to say by how much, in a hundredth of the space.

    >>> parts(np.arange(2000.0))[:2]
    [950.0, 951.0]
    """
    return [round(float(of_each[i::PARTS].mean()), 4) for i in range(min(PARTS, len(of_each)))]


def rounds(data: str | None, trunk: str, last: int = 833) -> list[list[Task]]:
    """The tasks, in the order in which the trunks grow: within one list they are independent.

    >>> [len(tasks) for tasks in rounds(None, "trunk")]
    [19, 10, 14, 13, 13, 13, 10]
    """

    def task(flow: str, K: int, epochs: int, images_5000: int, **change: object) -> Task:
        settings = {"flow": flow, "K": K, "epochs": epochs, "images": EPOCHS[epochs][0]}
        settings |= {"images_5000": images_5000} | change
        return Task(mnist, settings, 0, {"data": data, "trunk": trunk})

    made = []
    for epochs in [e for e in EPOCHS if e <= last]:
        few = EPOCHS[epochs][1]
        made.append([task(flow, K, epochs, few, redraw=True) for flow, K in ROWS])
        if epochs in ONE_DRAW_EPOCHS:
            made[-1] += [task(flow, K, epochs, few) for flow, K in ONE_DRAW]
        made[-1] += [
            task(flow, K, at, few, redraw=True, **change)
            for at, flow, K, change in ABLATIONS
            if at == epochs
        ]
    return made


def run_rounds(directory: Path, data: str | None, last: int = 833, **how: object) -> list[Task]:
    """Run round after round into a directory of results; return all tasks, to be collected."""
    done = []
    for tasks in rounds(data, str(Path(directory).resolve() / "trunks"), last):
        run(tasks, directory, **how)
        done += tasks
    return done
