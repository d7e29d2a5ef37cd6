"""The dot plot of all ratios, and the words that say what it shows."""

import io

from benchmarks.cells import CELLS
from benchmarks.numbers import NAMES, ratio

TIE = 0.03  # ratios this close to 1 are neither slower nor faster
PANELS = (
    ("planar", "planar step", ("normflows", "pyro", "torch", "flowjax", "jax", "jax-scan")),
    ("coupling", "coupling step", ("nflows", "zuko", "normflows", "flowjax")),
    ("points", "100,000 points", ("normflows", "pyro", "flowjax", "jax")),
)


def alt(results: dict) -> str:
    """What the plot shows and what to notice in it, from the same numbers."""
    found = {}
    for kind, _, names in PANELS:
        for cell in CELLS:
            if cell.name in results and cell.kind in panel_kinds(kind):
                for name in set(names) & set(results[cell.name]["contenders"]):
                    found.setdefault(name, []).append(ratio(results[cell.name], name, "ours"))
    slower = [NAMES[name] for name in NAMES if name in found and min(found[name]) > 1 + TIE]
    faster = [NAMES[name] for name in NAMES if name in found and max(found[name]) < 1 - TIE]
    return (
        "Dot plot, one row a library and one dot a setting: time as a multiple of nflib_min's, on "
        f"a logarithmic axis. Always slower: {', '.join(slower) or 'none'}; always faster: "
        f"{', '.join(faster) or 'none'}."
    )


INK = {"light": ("#ffffff", "#1f2328", "#d0d7de"), "dark": ("#0d1117", "#e6edf3", "#30363d")}
OURS = "#009E73"  # the flow's colour in the notebooks
THEIRS = {"float64": ("#0072B2", "#56B4E9"), "float32": ("#D55E00", "#E69F00")}  # light, dark


def plot(results: dict, mode: str) -> bytes:
    """The dot plot in one of two colour modes, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    paper, ink, line = INK[mode]
    style = {
        **{f"{name}.facecolor": paper for name in ("figure", "axes", "savefig")},
        **{name: ink for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")},
        "axes.edgecolor": line,
        "font.size": 10,
    }
    heights = [len(names) for *_, names in PANELS]
    with plt.rc_context(style):
        fig, axes = plt.subplots(
            len(PANELS), 1, figsize=(7.2, 0.34 * sum(heights) + 1.9), sharex=True,
            height_ratios=heights, layout="constrained",
        )  # fmt: skip
        for ax, (kind, title, names) in zip(axes, PANELS, strict=True):
            panel(ax, results, kind, names, mode == "dark")
            ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set_yticks(range(len(names)), [NAMES[name] for name in names])
            ax.tick_params(length=0)
            ax.grid(axis="x", color=line, linewidth=0.6)
            ax.axvline(1, color=OURS, linewidth=2)
            ax.spines[["top", "right", "left"]].set_visible(False)
        axes[0].annotate(
            "nflib_min", (1, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", color=OURS, ha="center", fontweight="bold",
        )  # fmt: skip
        axes[-1].set_xscale("log")
        axes[-1].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes[-1].set_xlabel("times as long as nflib_min (1: the same; right: slower)")
        handles, labels = axes[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        fig.legend(
            unique.values(), unique.keys(), loc="upper right", frameon=False, ncols=2, fontsize=9
        )
        drawn = io.BytesIO()
        fig.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
        plt.close(fig)
    return drawn.getvalue()


def panel_kinds(kind: str) -> tuple[str, ...]:
    return ("density", "sampling") if kind == "points" else (kind,)


def panel(ax: object, results: dict, kind: str, names: tuple[str, ...], dark: bool) -> None:
    """One dot a cell: circles for float64, squares for float32."""
    for cell in CELLS:
        record = results.get(cell.name)
        if cell.kind not in panel_kinds(kind) or record is None:
            continue
        for row, name in enumerate(names):
            if name not in record["contenders"]:
                continue
            shift = 0.0 if kind == "points" else (-0.14 if cell.dtype == "float64" else 0.14)
            ax.plot(
                ratio(record, name, "ours"), row + shift, linestyle="none",
                marker="o" if cell.dtype == "float64" else "s", markersize=5.5,
                color=THEIRS[cell.dtype][dark], label=cell.dtype,
            )  # fmt: skip
