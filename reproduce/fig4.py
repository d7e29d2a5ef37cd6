"""The paper's figure 4 and table 2 beside ours, in both blocks, and -ln p as training goes on."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from nflib_min.plotting import FLOW, TARGET
from reproduce import paper
from reproduce.drawing import png
from reproduce.results import models

COLOURS = {"planar": FLOW, "nice-perm": TARGET}
MARKS = {"planar": "o", "nice-perm": "s"}
BLOCKS = {"redrawn pixels": (True, "-"), "fixed pixels": (False, ":")}


def last(values: dict[tuple[str, int, int], dict], flow: str) -> dict[int, dict]:
    """K -> the values of each model of a flow at its longest training; K = 0 is without a flow."""
    found = {}
    for name, K, epochs in sorted(values, key=lambda key: key[2]):
        if name in ("none", flow):
            found[K] = values[name, K, epochs]
    return dict(sorted(found.items()))


def figure(rows: list[dict]) -> bytes:
    """Figure 4 as PNG: F, KL and -ln p against K beside the paper's, and -ln p against epochs."""
    fig, axes = plt.subplots(2, 2, figsize=(9.6, 7.4), layout="constrained")
    panels = (
        (axes[0, 0], "F", "free energy F", paper.FIG_4_F),
        (axes[0, 1], "KL", "KL(q || p(z | x))", paper.FIG_4_KL),
        (axes[1, 0], "nll", "-ln p(x), 200 draws", paper.TABLE_2),
    )
    for ax, quantity, label, printed in panels:
        for flow in COLOURS:
            style = {"color": COLOURS[flow], "marker": MARKS[flow]}
            for block, (redrawn, line) in BLOCKS.items():
                ours = last(models(rows, redrawn), flow)
                if flow == "planar" or len(ours) > 1:
                    points = [of[quantity] for of in ours.values()]
                    ax.plot([*ours], points, line, **style, label=f"{flow}, {block}")
            if theirs := printed.get(flow):
                label_ = f"{flow}, paper"
                ax.plot([*theirs], [*theirs.values()], "--", **style, mfc="white", label=label_)
        ax.set(xlabel="length K", ylabel=f"{label}, nats", xticks=(0, 10, 20, 40, 80))
        ax.set_title(f"{label} on test digits")
    entries = axes[0, 0].get_legend_handles_labels()
    fig.legend(*entries, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    against_epochs(axes[1, 1], rows)
    epochs = [key[2] for key in models(rows)]
    fig.suptitle(
        f"MNIST, each model at its longest training, of up to {max(epochs, default=0)} epochs; "
        f"the paper: {paper.EPOCHS}"
    )
    return png(fig)


def against_epochs(ax: Axes, rows: list[dict]) -> None:
    """-ln p of four models, and of two on fixed pixels, as training goes on."""
    for block, (redrawn, line) in BLOCKS.items():
        values = models(rows, redrawn)
        for flow, K, color in (
            ("none", 0, "0.4"),
            ("planar", 10, "#56B4E9"),
            ("planar", 80, COLOURS["planar"]),
            ("nice-perm", 80, COLOURS["nice-perm"]),
        ):
            found = {
                e: of["nll"] for (f, k, e), of in sorted(values.items()) if (f, k) == (flow, K)
            }
            if found:
                name = "no flow" if K == 0 else f"{flow}, K = {K}"
                label = name if redrawn else f"{name}, {block}"
                ax.plot([*found], [*found.values()], line, marker=".", color=color, label=label)
    ax.set(xlabel="epochs of training", ylabel="nats", title="-ln p(x) as training goes on")
    ax.set_xscale("log")
    ax.set_xticks(ticks := (10, 20, 40, 80, 160, 320, 833), map(str, ticks))
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8)
