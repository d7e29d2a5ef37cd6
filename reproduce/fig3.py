r"""The paper's figure 3: how close 2, 8 and 32 layers come to four densities, by how many nats.

The targets are Table 1's, made proper (`nflib_min.targets.table_1`), so that each divergence is
absolute. Every flow of one length is trained by one recipe: Adam on the free energy (15), with the
annealing of (20), a rate that falls along half a cosine, and gradients clipped at 10.
"""

import base64
import zlib
from collections.abc import Iterable
from statistics import median

import numpy as np

from nflib_min import Affine, Chain, Flow, Planar, Radial, StandardNormal, nice
from nflib_min._arrays import Array
from nflib_min.checks import grid, total_mass
from nflib_min.objectives import FreeEnergy, kl_from_target, kl_to_target
from nflib_min.planar import GAIN
from nflib_min.targets import table_1, w1, w2, w3
from nflib_min.training import cosine_decay, fit
from reproduce import results
from reproduce.runs import Task

TARGETS = ("U1", "U2", "U3", "U4")
FLOWS = ("planar", "radial", "nice-orth", "nice-perm")
LENGTHS, CURVE = (2, 8, 32), (1, 2, 4, 8, 16, 32, 64)
COMMON = {"version": 1, "constraint": "shifted", "start": "spread", "draws": 50_000}
WIDTH = 2.2  # sd of q before training: about that of z_1 on (-4, 4), 8 / sqrt(12)
MISSED = 0.1  # a mode is missed by a flow that gives it less than this share of its mass
GRID, VIEW = 96, (-4.0, 4.0)


# ------------------------------------------------------------------------------------ one task
def train(
    *,
    target: str,
    flow: str,
    K: int,
    steps: int,
    batch: int,
    rate: float,
    annealing: int | None,
    constraint: str,
    start: str,
    width: float,
    draws: int,
    version: int,
    seed: int,
    checkpoint: object = None,
) -> dict:
    r"""Train one flow on one of Table 1's targets and measure what is left, in nats.

    Parameters
    ----------
    target : "U1" ... "U4". flow : one of FLOWS; `build` says what it is. K : its length.
    steps, batch, rate : of Adam; the rate is the peak that the cosine starts from.
    annealing : $\beta_t = \min(1, 0.01 + t / \text{annealing})$; None for $\beta = 1$ throughout.
    constraint : "shifted", or "printed" for the paper's m (planar only).
    start : "spread", the library's, or "small": u, w ~ N(0, 0.01^2), b = 0 (planar only).
    width : the standard deviation that the affine layer gives q_K before training.
    draws : of q_K, and as many of the target, for the measurements.

    Returns
    -------
    kl, forward_kl : KL(q_K || p) and KL(p || q_K), each as [mean, standard error];
    modes : the share of q_K in each mode over p's, see `mode_shares`;
    mass : of q_K on (-9, 9)^2, by the midpoint rule; density : q_K on (-4, 4)^2, see `pack`.

    Source: Rezende & Mohamed (2015), figure 3 and eqs. (15), (20).
    """
    rng = np.random.default_rng(seed)
    p = table_1(target)
    q, params = build(flow, K, constraint, start, width, rng)
    anneal = None if annealing is None else lambda t: min(1.0, 0.01 + t / annealing)
    result = fit(
        FreeEnergy(q, p, batch=batch, annealing=anneal),
        params,
        steps,
        rng,
        learning_rate=cosine_decay(rate, steps),
        checkpoint=checkpoint,
        checkpoint_every=2000,
        progress=False,
    )
    if result.interrupted:
        raise KeyboardInterrupt
    params, rng = result.params, np.random.default_rng([seed, 1])
    z, _ = grid(VIEW, GRID)
    return {
        "kl": rounded(kl_to_target(params, q, p, draws, rng)),
        "forward_kl": rounded(kl_from_target(params, q, p, draws, rng)),
        "modes": mode_shares(target, q.sample(params, draws, rng), p.sample(draws, rng)),
        "mass": round(total_mass(lambda z: q.log_prob(params, z), (-9.0, 9.0), 200), 6),
        "density": pack(q.log_prob(params, z)),
    }


def build(
    flow: str, K: int, constraint: str, start: str, width: float, rng: np.random.Generator
) -> tuple[Flow, object]:
    """One of the four flows and its start; NICE has one hidden layer of 16 tanh units a coupling.

    Planar and radial layers follow an Affine, which stands for the learned mean and scales of the
    paper's q_0; the couplings of NICE, which preserve volume, have theirs at the end.

    >>> build("radial", 4, "shifted", "spread", 2.0, np.random.default_rng(0))[0]
    Flow(StandardNormal(2), Chain([Affine(2), Radial(2, length=4)]))
    """
    if flow == "planar":
        layers = Planar(2, K, gain=1.0 if constraint == "printed" else GAIN)
    elif constraint != "shifted" or start != "spread":
        raise ValueError(f"{flow}: expected constraint 'shifted' and start 'spread'")
    elif flow == "radial":
        layers = Radial(2, K)
    elif flow in ("nice-orth", "nice-perm"):
        mixing = "orthogonal" if flow == "nice-orth" else "permutation"
        layers = nice(2, K, rng, mixing, hidden=(16,))
    else:
        raise ValueError(f"flow: expected one of {FLOWS}, got {flow!r}")
    f = layers if flow.startswith("nice") else Chain([Affine(2), layers])
    params = f.init(rng)
    params[-1 if flow.startswith("nice") else 0]["log_scale"] += np.log(width)
    if start == "small":
        small = {name: 0.01 * rng.standard_normal((K, 2)) for name in ("u", "w")}
        params[1] = small | {"b": np.zeros(K)}
    return Flow(StandardNormal(2), f), params


# ----------------------------------------------------------------------------------- the modes
def modes(target: str, z: Array) -> list[Array]:
    r"""Membership of the points z, (n, 2), in each mode of a target: a list of bool (n,).

    U1: its two arcs, $z_1 < 0$ and $z_1 > 0$. U3, U4: the two ridges, where their centres are more
    than 1.2 apart (three times the larger width), each point given to the ridge it is nearer to,
    in widths. U2 has one ridge and no modes: an empty list.

    >>> [m.tolist() for m in modes("U1", np.array([[-2.0, 0.0], [2.0, 0.0]]))]
    [[True, False], [False, True]]
    """
    z1, z2 = z[:, 0], z[:, 1]
    if target == "U1":
        return [z1 < 0, z1 > 0]
    if target == "U2":
        return []
    gap, width = (w2(z1), 0.35) if target == "U3" else (w3(z1), 0.4)
    first, second = np.abs(z2 - w1(z1)) / width, np.abs(z2 - w1(z1) + gap) / 0.35
    return [(gap > 1.2) & (first < second), (gap > 1.2) & (first >= second)]


def mode_shares(target: str, z: Array, exact: Array) -> list[float]:
    """For each mode, its share of the draws z over its share of exact draws from the target.

    1 is right, 0 is a mode that the flow misses; MISSED is the line drawn between.

    >>> p = table_1("U1").sample(1000, np.random.default_rng(0))
    >>> mode_shares("U1", p[p[:, 0] > 0], p)[0]
    0.0
    """
    pairs = zip(modes(target, z), modes(target, exact), strict=True)
    return rounded(inside.mean() / truth.mean() for inside, truth in pairs)


def rounded(values: Iterable[float]) -> list[float]:
    """To a millionth of a nat, far below any standard error here."""
    return [round(float(value), 6) for value in values]


def missed(values: dict) -> int:
    """How many modes a trained flow misses."""
    return sum(share < MISSED for share in values["modes"])


# --------------------------------------------------------------------------- densities, compact
def pack(log_q: Array) -> str:
    """A density on a grid for a picture: 256 levels up to its maximum, compressed, as text.

    >>> unpack(pack(np.log(np.linspace(1, 2, GRID * GRID))))[0, :2].round(2)
    array([0.5, 0.5])
    """
    q = np.exp(log_q - log_q.max())
    return base64.b64encode(zlib.compress(np.round(255 * q).astype(np.uint8).tobytes(), 9)).decode()


def unpack(text: str) -> Array:
    """The density of `pack` over its maximum, (GRID, GRID), rows along z_2."""
    return np.frombuffer(results.density(text), np.uint8).reshape(GRID, -1) / 255


# ------------------------------------------------------------------------------------ the sweep
def recipe(K: int, target: str) -> dict:
    """How all flows of one length are trained on one target.

    Long flows are worth longer training, and what suits a target at K = 32 was found by about
    twenty trials of planar flows, one to five of the seeds each. A peak rate of 3e-2 is better than
    1e-2 on the ridges, but can leave the arcs of U1 with unequal shares. A wide start is better on
    U3, a unit one on U4.
    """
    if K < 32:
        return {"steps": 6000, "batch": 256, "rate": 1e-2, "annealing": 2000, "width": WIDTH}
    rate, width = 1e-2 if target == "U1" else 3e-2, 1.0 if target == "U4" else WIDTH
    return {"steps": 20_000, "batch": 256, "rate": rate, "annealing": 2000, "width": width}


def baseline(target: str, flow: str, K: int) -> dict:
    """The settings of one cell of figure 3."""
    return COMMON | recipe(K, target) | {"target": target, "flow": flow, "K": K}


def seeds(flow: str, K: int) -> int:
    """Ten for the panels, five for the curve's other lengths, two where a seed takes longest."""
    if K in LENGTHS:
        return 10
    return 2 if K == 64 and flow != "planar" else 5


def tasks(quick: bool = False) -> list[Task]:
    """The panels and the curve's other lengths (three targets), what matters most first.

    Quick: two targets, two flows, K = 1 and 2, two seeds of 150 steps.
    """
    if quick:
        less = {"draws": 2000, "steps": 150, "batch": 64, "annealing": 50}
        return [
            Task(train, baseline(target, flow, K) | less, seed)
            for target in ("U1", "U3")
            for flow in FLOWS[::2]
            for K in (1, 2)
            for seed in range(2)
        ]
    others = [K for K in CURVE if K not in LENGTHS]
    tiers = [
        [(t, "planar", K) for K in LENGTHS for t in TARGETS],
        [(t, f, K) for K in LENGTHS[:2] for f in FLOWS[1:] for t in TARGETS],
        [(t, f, K) for K in others[:-1] for f in FLOWS for t in TARGETS[:3]],
        [(t, f, LENGTHS[-1]) for f in FLOWS[1:] for t in TARGETS],
        [(t, f, others[-1]) for f in FLOWS for t in TARGETS[:3]],
    ]
    return [
        Task(train, baseline(target, flow, K), seed)
        for tier in tiers
        for seed in range(10)
        for target, flow, K in tier
        if seed < seeds(flow, K)
    ]


ABLATIONS = {
    "as in figure 3": {},
    "no annealing": {"annealing": None},
    "rate x 0.3": {"rate": 0.3},  # times the recipe's
    "rate x 3": {"rate": 3.0},
    "printed constraint": {"constraint": "printed"},
    "start of width 1": {"width": 1.0},
    "small start": {"start": "small"},
    "small start, printed constraint": {"start": "small", "constraint": "printed"},
}


def ablated(name: str, target: str, K: int = 32, flow: str = "planar") -> dict:
    """The settings of a flow with one choice changed, by its name in ABLATIONS."""
    settings = baseline(target, flow, K)
    change = dict(ABLATIONS[name])
    if "rate" in change:
        change["rate"] *= settings["rate"]
    return settings | change


def ablations(quick: bool = False) -> list[Task]:
    """Each choice of the recipe changed alone: planar, K = 32, U1 and U3, 5 seeds."""
    less = {"steps": 50, "batch": 32, "K": 2, "draws": 1000} if quick else {}
    return [
        Task(train, ablated(name, target) | less, seed)
        for seed in range(1 if quick else 5)
        for name in ABLATIONS
        for target in ("U1", "U3")
    ]


TRIALS = ("rate x 0.3", "start of width 1")


def trials(quick: bool = False) -> list[Task]:
    """NICE by other choices than the recipe's, which was found on planar flows: U1, where it loses
    modes, K = 32, 5 seeds."""
    less = {"steps": 50, "batch": 32, "K": 2, "draws": 1000} if quick else {}
    return [
        Task(train, ablated(name, "U1", flow=flow) | less, seed)
        for seed in range(1 if quick else 5)
        for name in TRIALS
        for flow in FLOWS[2:]
    ]


# ---------------------------------------------------------------------------------- the pictures
def cells(rows: list[dict], *names: str) -> dict[tuple, list[dict]]:
    """Rows by (target, flow, K), or by other settings that are named; seeds in order."""
    found = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        key = tuple(row["settings"][name] for name in names or ("target", "flow", "K"))
        found.setdefault(key, []).append(row)
    return found


def median_row(rows: list[dict]) -> dict:
    """The seed whose KL(q || p) is the median, the lower one of two."""
    return sorted(rows, key=lambda row: row["values"]["kl"][0])[(len(rows) - 1) // 2]


def shown(tasks: list[Task], rows: list[dict]) -> list[Task]:
    """The tasks whose densities are drawn: the median seed of each panel."""
    wanted = [median_row(group) for group in cells(rows).values()]
    keys = [(row["settings"], row["seed"]) for row in wanted if row["settings"]["K"] in LENGTHS]
    return [task for task in tasks if (task.settings, task.seed) in keys]


STYLES = {
    "planar": ("#009E73", "o-"),
    "radial": ("#CC79A7", "s--"),
    "nice-orth": ("#0072B2", "^-."),
    "nice-perm": ("#D55E00", "D:"),
}
LABELS = {"nice-orth": "NICE-orth", "nice-perm": "NICE-perm"}


def figure(rows: list[dict]) -> bytes:
    """Figure 3 as PNG: a row a target, the median seed of each flow, z_2 down as in the paper."""
    from nflib_min.plotting import DENSITY, panels, square
    from reproduce.drawing import png

    by_cell = cells(rows)
    flows = [flow for flow in FLOWS if any(key[1] == flow for key in by_cell)]
    targets = [target for target in TARGETS if any(key[0] == target for key in by_cell)]
    lengths = sorted({key[2] for key in by_cell})
    columns = [(flow, K) for flow in flows for K in lengths]
    fig, axes = panels(len(targets), 1 + len(columns), size=1.05)
    z, _ = grid(VIEW, GRID)
    for target, line in zip(targets, axes, strict=True):
        p = table_1(target).log_prob(z).reshape(GRID, GRID)
        images = [np.exp(p - p.max())]
        titles = ["target" if target == targets[0] else ""]
        for flow, K in columns:
            head = f"{LABELS.get(flow, flow)}\nK = {K}\n" if target == targets[0] else ""
            if (target, flow, K) not in by_cell:
                images.append(np.zeros((GRID, GRID)))
                titles.append(f"{head}not run")
                continue
            values = by_cell[target, flow, K][0]["values"]
            images.append(unpack(values["density"]))
            titles.append(f"{head}{values['kl'][0]:.3f}")
        for ax, image, title in zip(line, images, titles, strict=True):
            ax.imshow(image, origin="lower", extent=VIEW * 2, cmap=DENSITY, vmin=0)
            square(ax, VIEW, "")
            ax.set_title(title, fontsize=7, pad=3)
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
            ax.invert_yaxis()
        line[0].set_ylabel(f"${target[0]}_{target[1]}$", labelpad=3)
    return png(fig)


def curve(rows: list[dict]) -> bytes:
    """KL(q || p), above, and KL(p || q), below, against K: medians over seeds, and every seed."""
    import matplotlib.pyplot as plt

    from reproduce.drawing import png

    by_cell = cells(rows)
    targets = [target for target in TARGETS[:3] if any(key[0] == target for key in by_cell)]
    fig, axes = plt.subplots(
        2, len(targets), figsize=(9, 5.6), sharex=True, sharey="row", layout="constrained"
    )
    kinds = {"kl": r"KL$(q \Vert p)$, nats", "forward_kl": r"KL$(p \Vert q)$, nats"}
    for (kind, label), line in zip(kinds.items(), axes, strict=True):
        for target, ax in zip(targets, line, strict=True):
            for flow, (color, style) in STYLES.items():
                lengths = sorted(K for t, f, K in by_cell if (t, f) == (target, flow))
                if not lengths:
                    continue
                kls = [[r["values"][kind][0] for r in by_cell[target, flow, K]] for K in lengths]
                for K, each in zip(lengths, kls, strict=True):
                    ax.plot([K] * len(each), each, ".", color=color, alpha=0.35, ms=3)
                name = LABELS.get(flow, flow)
                middle = [median(each) for each in kls]
                ax.loglog(lengths, middle, style, color=color, ms=4, label=name)
            ax.set_xticks(CURVE, CURVE)
            ax.minorticks_off()
            ax.grid(alpha=0.25)
        line[0].set_ylabel(label)
    for target, above, below in zip(targets, *axes, strict=True):
        above.set_title(f"${target[0]}_{target[1]}$")
        below.set_xlabel("length K")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return png(fig)
