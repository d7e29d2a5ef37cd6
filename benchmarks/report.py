"""Tables, verdicts and the plot, all from results/*.json: no number is typed by hand."""

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cells
from benchmarks.cells import CELLS, Cell

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NAMES = {
    "ours": "**nflib_min**",
    "readable": "nflib_min, readable layers",
    "autograd": "nflib_min's formulas, autograd",
    "textbook": "NumPy, textbook",
    "floor": "NumPy, the arithmetic alone",
    "normflows": "normflows",
    "pyro": "Pyro",
    "nflows": "nflows",
    "zuko": "zuko",
    "flowjax": "flowjax",
    "torch": "PyTorch by hand",
    "torch-compile": "PyTorch by hand, compiled",
    "jax": "JAX by hand, jit",
    "jax-layers": "JAX by hand, layers in a scan",
    "jax-scan": "JAX by hand, 100 steps in one call",
}
LIBRARIES = ("normflows", "pyro", "nflows", "zuko", "flowjax")


def load(folder: Path = RESULTS) -> dict[str, dict]:
    """name -> record of every result there is."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


# --------------------------------------------------------------------------------- arithmetic
def median(record: dict, name: str) -> float:
    """Seconds a step, or a process."""
    return statistics.median(record["contenders"][name]["cpu"])


def ratio(record: dict, of: str, to: str) -> float:
    """Median over rounds of the time of one contender divided by that of another."""
    a, b = (record["contenders"][name]["cpu"] for name in (of, to))
    return statistics.median(x / y for x, y in zip(a, b, strict=False))


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for limit, unit, scale in ((1e-3, "µs", 1e6), (1.0, "ms", 1e3), (float("inf"), "s", 1.0)):
        if seconds < limit:
            return f"{digits(seconds * scale)} {unit}"


def digits(x: float) -> str:
    """Two digits for small numbers, whole ones for large."""
    return f"{x:.0f}" if x >= 20 else f"{x:.1f}" if x >= 2 else f"{x:.2f}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


# ----------------------------------------------------------------------------------- verdicts
@dataclass
class Verdict:
    """One target: what it says, the worst case found, and whether it was reached."""

    text: str
    found: str
    reached: bool


def compare(
    results: dict, text: str, limit: float, chosen: Callable[[Cell], bool], to: tuple, of: str
) -> Verdict | None:
    """`of` takes at most `limit` times as long as every one of `to`, in every chosen cell."""
    worst = (0.0, "", "")
    for cell in filter(chosen, CELLS):
        record = results.get(cell.name)
        for name in to:
            if record and {of, name} <= set(record["contenders"]):
                worst = max(worst, (ratio(record, of, name), name, cell.name))
    if not worst[1]:
        return None
    return Verdict(text, f"{worst[0]:.3g} ({worst[1]}, {worst[2]})", worst[0] <= limit)


def verdicts(results: dict) -> list[Verdict]:
    """Every target of this benchmark that the results can decide."""

    def of_kind(kind: str, *rest: Callable[[Cell], bool]) -> Callable[[Cell], bool]:
        return lambda c: c.kind == kind and all(test(c) for test in rest)

    found, old = [], ("normflows", "pyro")
    hard = of_kind("planar", lambda c: c.length == 32 or (c.length, c.batch) == (8, 100))
    planar, amortised = of_kind("planar"), of_kind("amortised")
    small, large = (of_kind("coupling", lambda c, n=n: c.batch == n) for n in (100, 1000))
    points = lambda c: c.kind in ("density", "sampling")  # noqa: E731
    for text, limit, chosen, to, of in (
        ("planar, K = 32 and (8, 100): 1/15 of normflows, Pyro", 1 / 15, hard, old, "ours"),
        ("planar, every cell: 1/10 of normflows, Pyro", 1 / 10, planar, old, "ours"),
        ("planar, every cell: 2/3 of flowjax", 2 / 3, planar, ("flowjax",), "ours"),
        ("planar, every cell: 1.5 of JAX by hand", 1.5, planar, ("jax",), "ours"),
        (
            "planar, K = 32: 1.6 of the arithmetic alone",
            1.6,
            of_kind("planar", lambda c: c.length == 32),
            ("floor",),
            "ours",
        ),
        ("readable layers: 1/8 of normflows", 1 / 8, planar, ("normflows",), "readable"),
        ("coupling, 100: 1/8 of normflows, nflows, zuko", 1 / 8, small, LIBRARIES[:4], "ours"),
        ("coupling, 100: 1/2 of flowjax", 1 / 2, small, ("flowjax",), "ours"),
        ("coupling, 1000: ahead of every library", 1, large, LIBRARIES, "ours"),
        ("density and sampling: ahead of every library", 1, points, LIBRARIES, "ours"),
        ("amortised: no slower than PyTorch by hand", 1, amortised, ("torch",), "ours"),
    ):
        found.append(compare(results, text, limit, chosen, to, of))
    found += [*cold_verdicts(results), *footprint_verdicts(results), *scaling_verdicts(results)]
    return [verdict for verdict in found if verdict]


def cold_verdicts(results: dict) -> list[Verdict]:
    if "cold" not in results:
        return []
    record = results["cold"]
    kls = {name: of["kl"][0] for name, of in record["contenders"].items()}
    peers = {name: ratio(record, "ours", name) for name in kls if name != "ours"}
    best = max(peers, key=peers.get)
    late = [f"{name} {kl:.3g}" for name, kl in kls.items() if kl > record["goal"]]
    return [
        Verdict(
            "cold start to trained flow: 1/6 of the fastest peer, whether it gets there or not",
            f"{peers[best]:.3g} ({best})",
            peers[best] <= 1 / 6,
        ),
        Verdict(
            f"the trained flow: KL at most {record['goal']} nats",
            f"{kls['ours']:.3g} (in as many steps not there: {', '.join(late) or 'none'})",
            kls["ours"] <= record["goal"],
        ),
    ]


def footprint_verdicts(results: dict) -> list[Verdict]:
    if "footprint" not in results:
        return []
    record = results["footprint"]
    sizes = {name: of["bytes"] for name, of in record["installed"].items()}
    least = min((name for name in sizes if name != "ours"), key=sizes.get)
    imported = import_seconds(record, "ours")
    share = sizes["ours"] / sizes[least]
    return [
        Verdict("import: at most 0.25 s", f"{imported:.3g} s", imported <= 0.25),
        Verdict(
            "installed: 1/6 of the smallest PyTorch or JAX environment",
            f"{share:.3g} ({least})",
            share <= 1 / 6,
        ),
    ]


def import_seconds(record: dict, name: str) -> float:
    """Median over rounds of the time to import, Python's own start taken off."""
    pairs = zip(record["imports"][name], record["imports"]["python"], strict=True)
    return statistics.median(x["cpu"] - bare["cpu"] for x, bare in pairs)


def scaling_verdicts(results: dict) -> list[Verdict]:
    if "scaling" not in results:
        return []
    record = results["scaling"]
    slopes = {name: of["slope"] for name, of in record["sweeps"].items()}
    off = max(slopes, key=lambda name: abs(slopes[name] - 1))
    memory = max(record["memory"], key=lambda of: of["peak"] / of["states"])
    share = memory["peak"] / memory["states"]
    text = ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
    return [
        Verdict("cost grows as K D n: slopes 1 ± 0.15", text, abs(slopes[off] - 1) <= 0.15),
        Verdict(
            "peak memory of a step: 3 times the (K, d, n) states",
            f"{share:.3g} at (K, d, n) = {tuple(memory['size'])}",
            share <= 3,
        ),
    ]


# ------------------------------------------------------------------------------------- tables
def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, the first column to the left, numbers to the right."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


SHORT = (
    ("planar K = 8, n = 100", "planar-8-100-float64"),
    ("planar K = 32, n = 1000", "planar-32-1000-float64"),
    ("coupling n = 100", "coupling-8-100-float64"),
    ("ln q, 100,000 points", "density-32-100000-float64"),
    ("draw 100,000", "sampling-32-100000-float64"),
    ("amortised", "amortised-10-100-float32"),
    ("cold start", "cold"),
)
SHORT_ROWS = (
    *("ours", "normflows", "pyro", "nflows", "zuko", "flowjax"),
    *("torch", "jax", "jax-scan"),
)


def short_table(results: dict) -> str:
    """README's: one line a library, one column a computation, as multiples of ours."""
    columns = [(head, results[name]) for head, name in SHORT if name in results]
    footprint, rows = results.get("footprint"), []
    for name in SHORT_ROWS:
        row = [NAMES[name]]
        for _, record in columns:
            if name not in record["contenders"]:
                row.append("")
            elif name == "ours":
                row.append(f"**{duration(median(record, name))}**")
            else:
                text = f"{digits(ratio(record, name, 'ours'))} ×"
                row.append(f"({text})" if misses(record, name) else text)
        if footprint:
            known = name in footprint["imports"]
            row.append(f"{import_seconds(footprint, name):.2f} s" if known else "")
            known = name in footprint["installed"]
            row.append(megabytes(footprint["installed"][name]["bytes"]) if known else "")
        if any(row[1:]):
            rows.append(row)
    head = ["", *(head for head, _ in columns), *(["import", "installed"] if footprint else [])]
    return table(head, rows)


def misses(record: dict, name: str) -> bool:
    """True for a cold start that did not end at the goal."""
    return "goal" in record and record["contenders"][name]["kl"][0] > record["goal"]


def conditions(results: dict) -> str:
    """Where, when and how the numbers were measured."""
    machines = [record["machine"] for record in results.values()]
    dates = sorted({machine["date"] for machine in machines})
    where = sorted({machine["processor"] for machine in machines})
    counts = {}
    for record in results.values():
        kind = "of whole processes" if "goal" in record else "of steps"
        taken = {len(of["cpu"]) for of in record.get("contenders", {}).values()}
        counts[kind] = counts.get(kind, set()) | taken
    rounds = "paired rounds: " + ", ".join(
        f"{min(n)} to {max(n)} {kind}" if len(n) > 1 else f"{min(n)} {kind}"
        for kind, n in sorted(counts.items(), reverse=True)
        if n
    )
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    loads = [machine["load"][0] for machine in machines if machine["load"]]
    busy = f"; load {min(loads):.0f} to {max(loads):.0f}" if loads else ""
    cores = (
        f"{where[0]}, {machines[0]['cores']} cores{busy}" if len(where) == 1 else ", ".join(where)
    )
    return f"{cores}; {when}; {machines[0]['threads']}; {rounds}."


def short_report(results: dict) -> str:
    """What goes between the markers of README.md."""
    lost = [v for v in verdicts(results) if not v.reached]
    lines = [
        '<picture><source media="(prefers-color-scheme: dark)" '
        'srcset="benchmarks/results/speed-dark.png">'
        f'<img src="benchmarks/results/speed-light.png" alt="{alt(results)}"></picture>',
        "",
        "The first row is processor time; the others are multiples of it: medians over paired "
        "rounds of the same computation, checked first to give the same loss and gradient. In "
        "brackets: trained as long as the others, and not at the goal.",
        "",
        short_table(results),
        "",
        conditions(results),
    ]
    if "planar-32-1000-float64" in results:
        share = ratio(results["planar-32-1000-float64"], "jax-scan", "ours")
        if share < 1:
            lines += [
                "",
                f"Many JAX steps in one compiled call take {digits(share)} of our time at K = 32, "
                "n = 1000, once compiled.",
            ]
    if lost:
        lines += ["", f"{len(lost)} of {len(verdicts(results))} targets are not reached; "]
        lines[-1] += "[benchmarks/](benchmarks/README.md) lists them with where the time goes."
    return "\n".join(lines)


def full_report(results: dict) -> str:
    """What goes between the markers of benchmarks/README.md."""
    parts = [conditions(results), versions(results)]
    rows = [[v.text, v.found, "yes" if v.reached else "**no**"] for v in verdicts(results)]
    parts += ["### Targets", table(["ours / theirs, the worst case", "found", "reached"], rows)]
    titles = {
        "planar": "Planar step (K, n)",
        "coupling": "Coupling step, 8 layers (n)",
        "density": "Sample 100,000 points with ln q, K = 32",
        "sampling": "Draw 100,000 points, K = 32",
        "amortised": "Amortised step, 784-400-40, K = 10, batch 100",
    }
    for kind, title in titles.items():
        for dtype in cells.TOLERANCE:
            of_kind = [cell for cell in CELLS if (cell.kind, cell.dtype) == (kind, dtype)]
            if chosen := [cell for cell in of_kind if cell.name in results]:
                parts += [f"### {title}, {dtype}", kind_table(results, kind, chosen)]
    if "cold" in results:
        parts += ["### From a cold start to a trained flow", cold_table(results["cold"])]
    if "footprint" in results:
        parts += ["### Import and installation", footprint_table(results["footprint"])]
    if "scaling" in results:
        parts += ["### Growth", scaling_table(results["scaling"])]
        parts += ["### Where a planar step goes", profile_table(results["scaling"])]
    return "\n\n".join(parts)


def versions(results: dict) -> str:
    of = next(iter(results.values()))["machine"]["versions"]
    return "Versions: " + ", ".join(f"{name} {value}" for name, value in sorted(of.items())) + "."


def kind_table(results: dict, kind: str, chosen: list[Cell]) -> str:
    """All contenders in rows, cells in columns: time for ours, multiples of it for the others."""
    heads = [f"({c.length}, {c.batch})" if kind == "planar" else f"{c.batch:,}" for c in chosen]
    rows = []
    for name in cells.CONTENDERS[kind]:
        row, firsts = [NAMES[name]], []
        for cell in chosen:
            record = results[cell.name]
            if name not in record["contenders"]:
                row.append("")
                continue
            time = duration(median(record, name))
            row.append(time if name == "ours" else f"{digits(ratio(record, name, 'ours'))} ×")
            firsts.append(record["contenders"][name]["first_step"])
        if firsts:
            rows.append([*row, duration(max(firsts))])
    return table(["", *heads, "first step, compiling included"], rows)


def cold_table(record: dict) -> str:
    rows = [
        [
            NAMES[name],
            duration(median(record, name)),
            "" if name == "ours" else f"{digits(ratio(record, name, 'ours'))} ×",
            f"{of['kl'][0]:.4f} ± {of['kl'][1]:.4f}",
            duration(statistics.median(of["wall"])),
            str(len(of["cpu"])),
        ]
        for name in NAMES
        if (of := record["contenders"].get(name))
    ]
    cell = record["cell"]
    text = (
        f"K = {cell['length']}, batch {cell['batch']}, {cell['steps']} steps, float64; the whole "
        f"process; KL(q || U1) in nats from {cell['samples']:,} draws."
    )
    return text + "\n\n" + table(["", "process", "multiple", "KL", "by the clock", "rounds"], rows)


def footprint_table(record: dict) -> str:
    rows = []
    for name in (name for name in NAMES if name in record["installed"]):
        size = record["installed"][name]
        rows.append(
            [
                NAMES[name].replace(" by hand", "").replace(", jit", ""),
                f"{import_seconds(record, name):.2f} s",
                megabytes(size["bytes"]),
                str(len(size["packages"])),
            ]
        )
    return table(["", "import", "installed", "packages"], rows)


def scaling_table(record: dict) -> str:
    rows = []
    for name, of in record["sweeps"].items():
        sizes = ", ".join(str(tuple(size)) for size in (of["sizes"][0], of["sizes"][-1]))
        costs = " to ".join(duration(of["seconds"][i]) for i in (0, -1))
        rows.append([name, sizes, costs, f"{of['slope']:.2f}"])
    memory = [
        [str(tuple(of["size"])), f"{of['states'] / 1e6:.2f} MB", f"{of['peak'] / of['states']:.2f}"]
        for of in record["memory"]
    ]
    return (
        table(["growing", "(K, D, n) from, to", "step", "slope of ln cost"], rows)
        + "\n\n"
        + table(["(K, d, n)", "states", "peak memory of a step / states"], memory)
    )


def profile_table(record: dict) -> str:
    """The parts of a step in rows, sizes in columns."""
    heads = [f"K = {K}, n = {n}" for K, n in (of["size"] for of in record["profile"])]
    rows = [
        [part, *(duration(of["seconds"][part]) for of in record["profile"])]
        for part in record["profile"][0]["seconds"]
    ]
    return table(["each part by itself, at its best", *heads], rows)


# --------------------------------------------------------------------------------------- plot
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
    slower = [NAMES[name] for name in NAMES if name in found and min(found[name]) > 1]
    faster = [NAMES[name] for name in NAMES if name in found and max(found[name]) < 1]
    return (
        "Dot plot, one row a library and one dot a setting: time as a multiple of nflib_min's, on "
        f"a logarithmic axis. Always slower: {', '.join(slower) or 'none'}; always faster: "
        f"{', '.join(faster) or 'none'}."
    )


INK = {"light": ("#ffffff", "#1f2328", "#d0d7de"), "dark": ("#0d1117", "#e6edf3", "#30363d")}
OURS = "#009E73"  # the flow's colour in the notebooks
THEIRS = {"float64": ("#0072B2", "#56B4E9"), "float32": ("#D55E00", "#E69F00")}  # light, dark


def plot(results: dict, mode: str, path: Path) -> None:
    """The dot plot in one of two colour modes, written atomically."""
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
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".png", delete=False) as file:
            fig.savefig(file, format="png", dpi=150, metadata={"Software": None})
        plt.close(fig)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


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


# -------------------------------------------------------------------------------------- files
def insert(text: str, generated: str, name: str) -> str:
    """The text with what lies between its markers replaced; ValueError without both of them."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{name}: expected one {BEGIN} and after it one {END}")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{generated}\n{END}{tail}"


def write_text(text: str, path: Path) -> None:
    """Write beside `path`, then rename over it."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
    ) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def main(root: Path = ROOT, folder: Path = RESULTS) -> int:
    """Rewrite both READMEs and both plots; print the verdicts."""
    results = load(folder)
    if not results:
        print("no results yet: run python -m benchmarks first")
        return 1
    for path, generated in (
        (root / "benchmarks" / "README.md", full_report(results)),
        (root / "README.md", short_report(results)),
    ):
        write_text(insert(path.read_text(encoding="utf-8"), generated, path.name), path)
    for mode in INK:
        plot(results, mode, folder / f"speed-{mode}.png")
    for verdict in verdicts(results):
        word = "reached    " if verdict.reached else "NOT REACHED"
        print(f"{word}  {verdict.text}: {verdict.found}")
    return 0
