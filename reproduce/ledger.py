"""LEDGER.md and README's summary: what the paper has, what we have, and how far apart they are.

Everything is computed from results/*.json and the paper's numbers; no number of ours is typed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from reproduce import fig3, fig4, paper
from reproduce.sweep import ROOT, load, write

RESULTS, LEDGER, README = (
    ROOT / "reproduce" / "results",
    ROOT / "reproduce" / "LEDGER.md",
    ROOT / "README.md",
)
NAMES = ("fig1", "fig3", "ablations", "mnist")
BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
GOAL = 0.01  # nats: what 32 planar layers must reach on each target, as a median over SEEDS
SEEDS = 10
MASS = 0.01
KL_WITHIN = 0.5  # nats: a lower KL(q || p(z | x)) belongs to another model, not to a better q
TABLE_3_REASON = (
    "no package with CIFAR-10's images was found on PyPI or npm (four that are named after it have "
    "4 to 14 kB and leave the images to a download or to the user), and no other source is at hand"
)
LABELS = {"none": "no flow", "planar": "planar", "radial": "radial"} | fig3.LABELS


@dataclass
class Row:
    """One line of the ledger; `verdict` starts with reproduced, shape only or not reproduced."""

    item: str
    paper: str
    ours: str
    difference: str
    seeds: str
    minutes: str
    tolerance: str
    verdict: str


def read(folder: Path = RESULTS) -> dict[str, list[dict]]:
    """name -> rows of every result there is."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {name: load(path) for name, path in paths.items() if path.exists()}


# ------------------------------------------------------------------------------------- the rows
def rows_of(results: dict) -> list[Row]:
    """Every figure and table of the paper, in its order."""
    return [*fig1_rows(results), *fig3_rows(results), *mnist_rows(results), table_3_row()]


def absent(item: str, printed: str, reason: str) -> Row:
    return Row(item, printed, "", "", "", "", "", f"not reproduced, because {reason}")


def verdict(failures: list[str], otherwise: str = "shape only") -> str:
    return f"{otherwise}, because {'; '.join(failures)}" if failures else "reproduced"


def fig1_rows(results: dict) -> list[Row]:
    item, printed = "Fig 1: random layers on two bases", "12 densities, as pictures"
    if "fig1" not in results:
        return [absent(item, printed, "it was not run")]
    rows = results["fig1"]
    off = max(abs(row["values"]["mass"] - 1) for row in rows)
    back = max(row["values"]["round_trip"] for row in rows)
    failures = ["the paper does not print its layers"]
    if off > MASS or back > 1e-9:
        failures.append("a density fails its check")
    return [
        Row(
            item,
            printed,
            f"{len(rows)} densities, each of mass 1 within {off:.1g}; points return to {back:.0e}",
            "",
            "1",
            minutes(rows),
            f"mass within {MASS:g}, round trip to 1e-9",
            verdict(failures),
        )
    ]


def fig3_rows(results: dict) -> list[Row]:
    if "fig3" not in results:
        reason = "it was not run"
        return [absent("Fig 3: four densities", "pictures", reason)]
    cells = fig3.cells(results["fig3"])

    def of(target: str, flow: str) -> dict[int, list[dict]]:
        keys = [(target, flow, K) for K in fig3.LENGTHS]
        return {key[2]: cells[key] for key in keys if key in cells}

    rows = []
    for target in fig3.TARGETS:
        groups = of(target, "planar")
        failures = not_falling(groups) + at_length_32(target, groups, GOAL)
        rows.append(fig3_row(f"Fig 3: {target}, planar", groups, failures, GOAL))
    for flow in fig3.FLOWS[1:]:
        failures, together = [], {}
        for target in fig3.TARGETS:
            groups = of(target, flow)
            failures += [f"{target}: {what}" for what in not_falling(groups)]
            failures += at_length_32(target, groups)
            for K, group in groups.items():
                together[K] = together.get(K, []) + group
        least = min(len(cells.get((target, flow, 32), [])) for target in fig3.TARGETS)
        if 0 < least < SEEDS:
            failures.append(f"{least} of {SEEDS} seeds were run at K = 32")
        item = f"Fig 3: U1-U4, {LABELS[flow]}"
        if together:
            rows.append(fig3_row(item, together, failures))
        else:
            rows.append(absent(item, "pictures, no number", "it was not run"))
    return [*rows, curve_row(results["fig3"])]


def at_length_32(target: str, groups: dict, goal: float | None = None) -> list[str]:
    """What keeps the longest flows of a target from being right."""
    if 32 not in groups:
        return [f"{target} was not run at K = 32"]
    last, failures = median_kl(groups[32]), []
    if goal is not None and last > goal:
        failures.append(f"the median at K = 32 is {last:.4f}")
    if goal is not None and len(groups[32]) < SEEDS:
        failures.append(f"{len(groups[32])} of {SEEDS} seeds were run")
    lost = sum(fig3.missed(row["values"]) > 0 for row in groups[32])
    if lost:
        failures.append(f"{lost} of {len(groups[32])} seeds miss a mode of {target} at K = 32")
    return failures


def fig3_row(item: str, groups: dict, failures: list[str], goal: float | None = None) -> Row:
    kls = " / ".join(f"{median_kl(group):.3g}" for group in groups.values())
    lengths = " / ".join(map(str, groups))
    every = [row for group in groups.values() for row in group]
    limit = f"at most {goal:g} at K = 32 over {SEEDS} seeds, " if goal else ""
    return Row(
        item,
        "pictures, no number",
        f"median KL {kls} nats at K = {lengths}",
        "",
        " / ".join(map(seeds, groups.values())),
        minutes(every),
        f"{limit}falling in K, no mode missed at K = 32",
        verdict(failures),
    )


def curve_row(rows: list[dict]) -> Row:
    cells = fig3.cells(rows)
    failures = ["the paper's axis is no bound on these targets (errata)"]
    for target in fig3.TARGETS[:3]:
        for flow in fig3.FLOWS:
            groups = {K: cells[target, flow, K] for K in fig3.CURVE if (target, flow, K) in cells}
            failures += [f"{target}, {LABELS[flow]}: {what}" for what in not_falling(groups)]
    orders = []
    for target in fig3.TARGETS[:3]:
        found = {f: median_kl(cells[target, f, 32]) for f in fig3.FLOWS if (target, f, 32) in cells}
        orders.append(f"{target}: {' < '.join(LABELS[f] for f in sorted(found, key=found.get))}")
    return Row(
        "Fig 3: bound against K, U1-U3",
        "every bound falls with K",
        f"KL at K = 32: {'; '.join(orders)}",
        "",
        "as below",
        minutes(rows),
        "median KL falling in K for every flow",
        verdict(failures),
    )


def median_kl(group: list[dict], kind: str = "kl") -> float:
    return median(row["values"][kind][0] for row in group)


def not_falling(groups: dict[int, list[dict]]) -> list[str]:
    """Where the median KL of a length is not below that of the length before."""
    medians = {K: median_kl(group) for K, group in groups.items()}
    return [
        f"the median goes from {medians[a]:.3g} at K = {a} to {medians[b]:.3g} at K = {b}"
        for a, b in pairwise(sorted(medians))
        if not medians[b] < medians[a]
    ]


def mnist_rows(results: dict) -> list[Row]:
    """Figure 4 and table 2: one row a number that the paper prints."""
    models = level(trunks(results.get("mnist", [])))
    rows = []
    lines = [
        ("Fig 4: F", "F", paper.FIG_4_F, f"at or below the paper's + {paper.READ_OFF:g}"),
        ("Fig 4: KL(q ‖ p)", "KL", paper.FIG_4_KL, f"within {KL_WITHIN:g}"),
        ("Table 2: -ln p(x), 200 samples", "nll", paper.TABLE_2, "at or below the paper's"),
    ]
    for title, key, printed, tolerance in lines:
        for flow, values in printed.items():
            shorter = models.get(("none", 0))
            for K, number in values.items():
                name = f"{title}, {'no flow' if K == 0 else f'{LABELS[flow]}, K = {K}'}"
                trunk = models.get(("none" if K == 0 else flow, K))
                if not trunk:
                    rows.append(absent(name, f"{number:.2f}", "it was not run"))
                    continue
                last, epochs = trunk[-1]["values"], trunk[-1]["settings"]["epochs"]
                off = last[key] - number
                near = {"F": off <= paper.READ_OFF, "KL": abs(off) <= KL_WITHIN, "nll": off <= 0}
                falls = K > 0 and bool(shorter) and last[key] < shorter[-1]["values"][key]
                why = f"ours is {abs(off):.2f} {'above' if off > 0 else 'below'} after {epochs} "
                why += f"epochs{', falling with K' if falls else ''} (the paper: {paper.EPOCHS})"
                rows.append(
                    Row(
                        name,
                        f"{number:.2f}",
                        f"{last[key]:.2f} ± {last[f'{key}_se']:.2f}",
                        f"{off:+.2f}",
                        seeds(trunk),
                        minutes(trunk) if key == "nll" else "",
                        tolerance,
                        verdict(
                            [] if near[key] else [why], "shape only" if falls else "not reproduced"
                        ),
                    )
                )
                shorter = trunk
    return [*rows, *gain_rows(models), *(others_row(name) for name in paper.TABLE_2_OTHERS)]


def gain_rows(models: dict) -> list[Row]:
    """What the longest flow gains over none, which a better baseline makes smaller."""
    rows = []
    for flow, printed in paper.TABLE_2.items():
        K = max(printed)
        item, was = f"Table 2: gain of {LABELS[flow]}, K = {K}", paper.TABLE_2["planar"][0]
        pair = [models.get(key) for key in (("none", 0), (flow, K))]
        if not all(pair):
            rows.append(absent(item, f"{was - printed[K]:.2f}", "it was not run"))
            continue
        without, having = (trunk[-1]["values"]["nll"] for trunk in pair)
        ours, theirs = without - having, was - printed[K]
        why = [f"no flow is at {without:.2f} here, and at {was:.2f} there"]
        rows.append(
            Row(
                item,
                f"{theirs:.2f}",
                f"{ours:.2f}",
                f"{ours - theirs:+.2f}",
                seeds(pair[1]),
                "",
                "within 1 nat",
                verdict(
                    why if abs(ours - theirs) > 1 else [],
                    "shape only" if ours > 0 else "not reproduced",
                ),
            )
        )
    return rows


def others_row(name: str) -> Row:
    values = " / ".join(f"{value:.2f}" for value in paper.TABLE_2_OTHERS[name])
    return absent(f"Table 2: {name}", values, "Hamiltonian variational inference is not here")


def table_3_row() -> Row:
    values = " / ".join(f"{value:.1f}" for value in paper.TABLE_3.values())
    lengths = " / ".join(map(str, paper.TABLE_3))
    return absent(f"Table 3: CIFAR-10, K = {lengths}", values, TABLE_3_REASON)


def trunks(rows: list[dict]) -> dict[tuple, list[dict]]:
    """(flow, K) -> the rows of one training without an ablation, by epochs, up to the longest."""
    plain = [row for row in rows if set(row["settings"]) == fig4.PLAIN]
    return {
        key: sorted(trunk, key=lambda row: row["settings"]["epochs"])
        for key, trunk in fig3.cells(plain, "flow", "K").items()
    }


# ---------------------------------------------------------------------------------- formatting
def seeds(group: list[dict]) -> str:
    return str(len({row["seed"] for row in group}))


def minutes(rows: list[dict]) -> str:
    return f"{sum(row['cpu_seconds'] for row in rows) / 60:.1f}"


def table(head: Iterable[str], lines: Iterable[Iterable[str]], numbers: bool = False) -> str:
    """A Markdown table; with `numbers` all columns but the first go to the right."""
    head = list(head)
    rule = ["---"] + ["--:" if numbers else "---"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *map(list, lines)])


# -------------------------------------------------------------------------------------- the text
def text(results: dict) -> str:
    """LEDGER.md."""
    rows = rows_of(results)
    lines = [vars(row).values() for row in rows]
    head = ["item", "the paper", "ours", "difference", "seeds", "CPU min", "tolerance", "verdict"]
    parts = [
        "# Does it reproduce?",
        f"{counted(rows)} Written by `python -m reproduce ledger` from `results/*.json`; "
        "nothing here is typed. All numbers are in nats.",
        "## Figures and tables",
        table(head, lines),
    ]
    if "fig1" in results:
        parts += [
            "## Figure 1",
            "![A Gaussian and a square, each after 1, 2 and 10 random planar and radial layers: "
            "planar layers fold the mass along lines, radial ones dent it around points.]"
            "(figures/fig1.png)",
        ]
    if "fig3" in results:
        parts += fig3_text(results["fig3"])
    if "ablations" in results:
        parts += ablation_text(results["ablations"])
    if "mnist" in results:
        parts += mnist_text(results["mnist"])
    parts += [
        "## Errata, and what is done about them",
        table(["", "the paper", "here"], [[k, *map(tex, v)] for k, v in paper.ERRATA.items()]),
        "## Where the numbers come from",
        table(["result", "rows", "CPU minutes", "commit", "versions", "date"], provenance(results)),
    ]
    return "\n\n".join(parts) + "\n"


def tex(sentence: str) -> str:
    """Vertical bars would end a table's cell."""
    return sentence.replace("|", r"\|")


def counted(rows: list[Row]) -> str:
    def n(start: str) -> int:
        return sum(row.verdict.startswith(start) for row in rows)

    return (
        f"Of {len(rows)} numbers and pictures {n('reproduced')} are reproduced, "
        f"{n('shape only')} in shape only, {n('not reproduced')} not."
    )


def fig3_text(rows: list[dict]) -> list[str]:
    """Figure 3 in full: the picture, the curve, and every cell."""
    cells = fig3.cells(rows)
    first = rows[0]["settings"]
    medians = [
        [f"{t} {LABELS[f]}"]
        + [f"{median_kl(cells[t, f, K]):.4f}" if (t, f, K) in cells else "" for K in fig3.CURVE]
        for t in fig3.TARGETS
        for f in fig3.FLOWS
    ]
    full = []
    for target, flow, K in sorted(cells, key=lambda key: (key[0], fig3.FLOWS.index(key[1]))):
        if K not in fig3.LENGTHS:
            continue
        group = cells[target, flow, K]
        middle = fig3.median_row(group)["values"]
        kls = sorted(row["values"]["kl"][0] for row in group)
        lost = sum(fig3.missed(row["values"]) > 0 for row in group)
        full.append(
            [
                f"{target} {LABELS[flow]}, K = {K}",
                f"{median(kls):.4f}",
                f"{middle['kl'][1]:.4f}",
                f"{kls[0]:.4f} to {kls[-1]:.4f}",
                f"{median_kl(group, 'forward_kl'):.4f}",
                f"{lost}" if target != "U2" else "",
                seeds(group),
                minutes(group),
            ]
        )
    counts = ("seeds that miss a mode", "seeds", "CPU min")
    left = len(fig3.tasks()) - len(rows)
    return [
        "## Figure 3",
        "![Four rows of density panels: each target beside planar, radial and NICE flows of "
        "length 2, 8 and 32, with the KL above each; longer flows look more like the target.]"
        "(figures/fig3.png)",
        "The median seed of each flow, with KL(q || p) above it; z_2 points down, as in the paper.",
        "![Six plots of divergence against length on logarithmic axes, for U1, U2 and U3 and both "
        "directions of the KL; one line a flow, one dot a seed.](figures/fig3_curve.png)",
        f"**Recipe.** Adam with a rate that falls along half a cosine, beta_t = min(1, 0.01 + t / "
        f"{first['annealing']}): {steps_text(rows)}. All flows of a length have one recipe for a "
        f"target. It was chosen on planar flows, by their KL at K = 32 on U1, U3 and U4, out of "
        f"about twenty settings of one to five seeds, which are among the ten here: the planar "
        f"medians are a little flattered, and the other flows had no tuning of their own. KLs are "
        f"from {first['draws']:,} draws. A mode is missed if the flow gives it less than "
        f"{fig3.MISSED:g} of its mass."
        + (f" **{left} of the sweep's {len(fig3.tasks())} runs are not in here.**" if left else ""),
        "### Median KL(q || p) against K",
        table(["", *(f"K = {K}" for K in fig3.CURVE)], medians, numbers=True),
        "### Every panel",
        table(
            ["", "median KL(q ‖ p)", "its s.e.", "over seeds", "median KL(p ‖ q)", *counts],
            full,
            numbers=True,
        ),
    ]


def steps_text(rows: list[dict]) -> str:
    """The recipe of each length and target, those with the same one together."""
    cells = {}
    for row in rows:
        s = row["settings"]
        recipe = tuple(s[name] for name in ("steps", "batch", "rate", "width"))
        cells.setdefault(recipe, set()).add((s["K"], s["target"]))
    parts = []
    for (steps, batch, rate, width), where in sorted(cells.items()):
        lengths, targets = (", ".join(map(str, sorted(set(x)))) for x in zip(*where, strict=True))
        parts.append(
            f"{steps:,} steps of {batch} draws, peak rate {rate:g}, standard deviation at the "
            f"start {width:g} (K = {lengths}; {targets})"
        )
    return "; ".join(parts)


def ablation_text(rows: list[dict]) -> list[str]:
    """One line a choice of the recipe, changed alone."""
    lines = []
    for name in fig3.ABLATIONS:
        line = [name]
        for target in ("U1", "U3"):
            settings = fig3.ablated(name, target)
            group = [row for row in rows if row["settings"] == settings]
            kls = sorted(row["values"]["kl"][0] for row in group)
            lost = sum(fig3.missed(row["values"]) > 0 for row in group)
            line += [f"{median(kls):.4f}", f"{kls[0]:.4f} to {kls[-1]:.4f}"] if kls else ["", ""]
            line += [f"{lost} of {len(kls)}"]
        lines.append(line)
    head = ["planar, K = 32"]
    for target in ("U1", "U3"):
        head += [f"{target}: median KL", "over seeds", "seeds that miss a mode"]
    return [
        "## Ablations",
        "Each choice of the recipe changed alone.",
        table(head, lines, numbers=True),
    ]


def level(models: dict[tuple, list[dict]]) -> dict[tuple, list[dict]]:
    """The models of the paper up to the longest training that all of them have had."""
    paired = {key: trunk for key, trunk in models.items() if key[0] in ("none", *paper.TABLE_2)}
    epochs = [{row["settings"]["epochs"] for row in trunk} for trunk in paired.values()]
    common = max(set.intersection(*epochs), default=0) if epochs else 0
    cut = {k: [r for r in t if r["settings"]["epochs"] <= common] for k, t in paired.items()}
    return {key: trunk for key, trunk in cut.items() if trunk}


def mnist_text(rows: list[dict]) -> list[str]:
    """Figure 4 and table 2: every model, its gain against the length of training, ablations."""
    models = trunks(rows)
    ends, gains = [], []
    epochs = sorted({row["settings"]["epochs"] for trunk in models.values() for row in trunk})
    of_few = [k for k in ("nll_200_of_these", "nll_5000") if any(k in r["values"] for r in rows)]
    base = {row["settings"]["epochs"]: row["values"]["nll"] for row in models.get(("none", 0), [])}
    for (flow, K), trunk in models.items():
        name = LABELS[flow] if K == 0 else f"{LABELS[flow]}, K = {K}"
        last = trunk[-1]["values"]
        ends.append(
            [
                name,
                str(trunk[-1]["settings"]["epochs"]),
                *(f"{last[key]:.2f} ± {last[f'{key}_se']:.2f}" for key in ("F", "KL", "nll")),
                *(f"{last[key]:.2f}" if key in last else "" for key in of_few),
                minutes(trunk),
            ]
        )
        at = {row["settings"]["epochs"]: row["values"]["nll"] for row in trunk}
        if K > 0:
            gains.append(
                [name, *(f"{base[e] - at[e]:.2f}" if e in at and e in base else "" for e in epochs)]
            )
    judged = max(row["settings"].get("images_5000", 0) for row in rows)
    few = (f"the same, first {judged:,} digits", "of these, 5,000 draws") if judged else ()
    parts = [
        "## Figure 4 and table 2",
        "![Three plots against K, of the free energy, KL and -ln p(x), with the paper's curves, "
        "and one of the gain over no flow against epochs.](figures/fig4.png)",
        "The test digits are binarised by one seeded Bernoulli draw, which is not the fixed draw "
        "that the paper and later work share. The training digits are drawn anew whenever they are "
        "met, where the paper has them drawn once: drawn once, they are partly learned by heart "
        "(ablations). The nets have 400 hidden units, as the paper's, but "
        "rectified ones (as good as maxout of four pieces in a trial, at a third of the time), and "
        "Adam with a running mean of the parameters in place of RMSprop. Annealing "
        "takes 10,000 of the 24,000 steps of its ablation. ± is a standard error over "
        "test digits; it does not hold the variation over seeds. The table at the top compares all "
        "models after the longest training that all have had; this one has each at its longest.",
        table(
            ["", "epochs", "F", "KL(q ‖ p)", "-ln p, 200 draws", *few, "CPU min"],
            ends,
            numbers=True,
        ),
        "### What a flow gains in -ln p(x), against epochs of training",
        judged_on(rows),
        table(["", *map(str, epochs)], gains, numbers=True),
    ]
    changed = [row for row in rows if set(row["settings"]) != fig4.PLAIN]
    if changed:
        parts += [
            "### Ablations",
            table(["", "F", "-ln p", "change"], ablated(changed, models), True),
        ]
    return parts


def judged_on(rows: list[dict]) -> str:
    """How many test digits stand behind the numbers of each epoch."""
    images = {row["settings"]["epochs"]: row["settings"]["images"] for row in rows}
    each = ", ".join(f"{images[epochs]:,} at {epochs}" for epochs in sorted(images))
    return f"Test digits, from the first, by epochs: {each}. Both models of a gain see the same."


def ablated(changed: list[dict], models: dict) -> list[list[str]]:
    """A line for each model with one setting changed, beside the model itself."""
    lines = []
    for row in changed:
        s, values = row["settings"], row["values"]
        same = [
            r["values"]
            for r in models.get((s["flow"], s["K"]), [])
            if r["settings"]["epochs"] == s["epochs"]
        ]
        change = ", ".join(f"{k} = {s[k]}" for k in s if k not in fig4.PLAIN)
        name = LABELS[s["flow"]] if s["K"] == 0 else f"{LABELS[s['flow']]}, K = {s['K']}"
        by = f"{values['nll'] - same[0]['nll']:+.2f}" if same else ""
        lines.append(
            [
                f"{name}, {s['epochs']} epochs: {change or 'training pixels drawn once'}",
                f"{values['F']:.2f}",
                f"{values['nll']:.2f}",
                by,
            ]
        )
    return lines


def provenance(results: dict) -> list[list[str]]:
    """A line for each result and each distinct origin of its rows."""
    lines = []
    for name, rows in results.items():
        origins = {}
        for row in rows:
            commit = row["commit"] or "none"
            where = f"`{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}`"
            versions = ", ".join(f"{k} {v}" for k, v in sorted(row["versions"].items()))
            origins.setdefault((where, versions, row["date"]), []).append(row)
        for origin, group in origins.items():
            lines.append([f"{name}.json", str(len(group)), minutes(group), *origin])
    return lines


def summary(results: dict) -> str:
    """What goes between the markers of README.md: one line a figure or table."""
    rows = rows_of(results)
    items = {}
    for row in rows:
        items.setdefault(row.item.partition(":")[0], []).append(row.verdict.partition(",")[0])
    lines = [
        [item.replace("Fig", "Figure"), *(str(verdicts.count(v)) for v in VERDICTS)]
        for item, verdicts in items.items()
    ]
    return "\n\n".join(
        [
            f"{counted(rows)} [reproduce/LEDGER.md](reproduce/LEDGER.md) has each with its "
            "tolerance, seeds, CPU minutes, and the errata.",
            table(["", *VERDICTS], lines, numbers=True),
        ]
    )


VERDICTS = ("reproduced", "shape only", "not reproduced")


def between(page: str, content: str) -> str:
    """The page with what is between the markers replaced; ValueError unless each is there once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"README: expected {BEGIN} and {END} once each, got another number")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.split(END)[1]}"


def write_all() -> None:
    """Renew LEDGER.md and, between its markers, README.md."""
    results = read()
    write(LEDGER, text(results))
    write(README, between(README.read_text("utf-8"), summary(results)))
