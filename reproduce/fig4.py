"""The paper's figure 4 and table 2 beside ours, and what a flow gains as training goes on."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from nflib_min.plotting import FLOW, TARGET
from reproduce import paper
from reproduce.drawing import png

COLOURS = {"planar": FLOW, "nice-perm": TARGET}
MARKS = {"planar": "o", "nice-perm": "s"}
# the settings of a model as such: "redraw" is there, and true, where digits are binarised anew
PLAIN = {"flow", "K", "epochs", "images", "images_5000", "redraw"}


def plain(rows: list[dict]) -> dict[tuple[str, int, int], dict]:
    """(flow, K, epochs) -> values, of the figure's flows where nothing is ablated."""
    found = {}
    for row in rows:
        settings = row["settings"]
        if set(settings) == PLAIN and settings["flow"] in ("none", *COLOURS):
            found[settings["flow"], settings["K"], settings["epochs"]] = row["values"]
    return found


def longest(values: dict[tuple[str, int, int], dict]) -> int:
    """The latest epoch at which every model has been judged.

    Errors: ValueError if there is none.
    """
    models = {key[:2] for key in values}
    whole = [e for e in {key[2] for key in values} if all((*m, e) in values for m in models)]
    if not whole:
        raise ValueError(f"figure 4: expected one epoch that all models reached, got {[*values]}")
    return max(whole)


def against_K(
    values: dict[tuple[str, int, int], dict], flow: str, quantity: str, epochs: int
) -> dict[int, float]:
    """K -> a quantity at an epoch; K = 0, no flow, is the first point of every curve."""
    found = {
        K: of[quantity]
        for (name, K, at), of in values.items()
        if name in (flow, "none") and at == epochs
    }
    return dict(sorted(found.items()))


def figure(rows: list[dict]) -> bytes:
    """Figure 4 as PNG: F, KL and -ln p against K beside the paper's, the gain against training."""
    values = plain(rows)
    epochs = longest(values)
    fig, axes = plt.subplots(2, 2, figsize=(9.6, 7.2), layout="constrained")
    panels = (
        (axes[0, 0], "F", "free energy F", paper.FIG_4_F),
        (axes[0, 1], "KL", "KL(q || p(z | x))", paper.FIG_4_KL),
        (axes[1, 0], "nll", "-ln p(x), 200 draws", paper.TABLE_2),
    )
    for ax, quantity, label, printed in panels:
        for flow in COLOURS:
            ours = against_K(values, flow, quantity, epochs)
            style = {"color": COLOURS[flow], "marker": MARKS[flow]}
            ax.plot([*ours], [*ours.values()], **style, label=f"{flow}, ours")
            if flow in printed:
                theirs = printed[flow]
                ax.plot(
                    [*theirs],
                    [*theirs.values()],
                    "--",
                    **style,
                    mfc="white",
                    label=f"{flow}, paper",
                )
        ax.set(xlabel="length K", ylabel=f"{label}, nats", xticks=(0, 10, 20, 40, 80))
        ax.set_title(f"{label} on test digits")
    axes[0, 0].legend(frameon=False, fontsize=8)
    _gains(axes[1, 1], values)
    fig.suptitle(f"MNIST, {epochs} epochs: ours and the paper's (500,000 updates, 833 epochs)")
    return png(fig)


def _gains(ax: Axes, values: dict[tuple[str, int, int], dict]) -> None:
    for flow, K, style in (("planar", 80, "-"), ("planar", 10, ":"), ("nice-perm", 80, "-")):
        gain = {
            at: values["none", 0, at]["nll"] - of["nll"]
            for (name, length, at), of in sorted(values.items())
            if (name, length) == (flow, K) and ("none", 0, at) in values
        }
        label = f"{flow}, K = {K}"
        ax.plot(
            [*gain], [*gain.values()], style, color=COLOURS[flow], marker=MARKS[flow], label=label
        )
    ax.set(xlabel="epochs of training", ylabel="nats", title="gain in -ln p over no flow")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
