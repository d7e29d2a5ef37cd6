"""Figures 1 and 3, which print no numbers: what was measured, and whether it is as it should be."""

from collections.abc import Iterable
from itertools import pairwise
from math import hypot
from statistics import median

from reproduce import fig3
from reproduce.ledger.verdicts import Line, minutes, seeds

GOAL = 0.01  # nats: what 32 planar layers must reach on each target, as a median over SEEDS
SEEDS = 10
MASS = 0.01
LABELS = {"planar": "planar", "radial": "radial"} | fig3.LABELS
PANELS = ("planar", "nice-orth", "nice-perm")  # radial flows are in the paper's curve alone
AXIS = "the paper's axis is no bound on these targets (errata)"


def lines(results: dict) -> list[Line]:
    return [*figure_1(results), *figure_3_lines(results)]


def verdict(rises: list[str], failures: list[str]) -> str:
    """Equal without either; the order is that of the lengths, which a rise breaks."""
    because = "; ".join(rises + failures)
    return "equal" if not because else f"{'not' if rises else 'same order'}, because {because}"


def figure_1(results: dict) -> list[Line]:
    item, printed = "Fig 1: random layers on two bases", "12 densities, as pictures"
    if "fig1" not in results:
        return [Line(item, printed, verdict="not run")]
    rows = results["fig1"]
    off = max(abs(row["values"]["mass"] - 1) for row in rows)
    back = max(row["values"]["round_trip"] for row in rows)
    wrong = ["a density fails its check"] if off > MASS or back > 1e-9 else []
    ours = f"{len(rows)} densities, each of mass 1 within {off:.1g}; points return to {back:.0e}"
    tolerance = f"mass within {MASS:g}, round trip to 1e-9"
    said = verdict(wrong, ["the paper does not print its layers"])
    return [Line(item, printed, ours, "1", minutes(rows), tolerance, said)]


def figure_3_lines(results: dict) -> list[Line]:
    """A line a target and flow of the panels, and one a target of the curve."""
    rows = results.get("fig3", [])
    cells = fig3.cells(rows)
    found = []
    for flow in PANELS:
        for target in fig3.TARGETS:
            keys = [(target, flow, K) for K in fig3.LENGTHS]
            found.append(panel(target, flow, {k[2]: cells[k] for k in keys if k in cells}))
    for target in fig3.TARGETS[:3]:
        groups = {f: lengths(cells, target, f) for f in fig3.FLOWS}
        item, printed = f"Fig 3: bound against K, {target}", "every bound falls with K"
        if not any(groups.values()):
            found.append(Line(item, printed, verdict="not run"))
            continue
        rises = [f"{LABELS[f]}: {what}" for f, of in groups.items() for what in not_falling(of)]
        last = {f: median_kl(of[32]) for f, of in groups.items() if 32 in of}
        order = " < ".join(LABELS[f] for f in sorted(last, key=last.get))
        every = [row for of in groups.values() for group in of.values() for row in group]
        tolerance = "median KL falling in K for every flow"
        said = verdict(rises, [AXIS])
        found.append(
            Line(item, printed, f"KL at K = 32: {order}", "", minutes(every), tolerance, said)
        )
    return found


def panel(target: str, flow: str, groups: dict[int, list[dict]]) -> Line:
    """One target and flow of figure 3, at every length there is."""
    item, printed = f"Fig 3: {target}, {LABELS[flow]}", "pictures, no number"
    if not groups:
        return Line(item, printed, verdict="not run")
    failures = []
    if 32 not in groups:
        failures.append("K = 32 was not run")
    else:
        last, planar = median_kl(groups[32]), flow == "planar"
        if planar and last > GOAL:
            failures.append(f"the median at K = 32 is {last:.4f}")
        if len(groups[32]) < SEEDS:
            failures.append(f"{len(groups[32])} of {SEEDS} seeds were run")
        lost = sum(fig3.missed(row["values"]) > 0 for row in groups[32])
        if lost:
            failures.append(f"{lost} of {len(groups[32])} seeds miss a mode at K = 32")
    kls = " / ".join(f"{median_kl(group):.3g}" for group in groups.values())
    goal = f"median over {SEEDS} seeds at most {GOAL:g} at K = 32 (our goal), "
    return Line(
        item,
        printed,
        f"median KL {kls} at K = {' / '.join(map(str, groups))}",
        " / ".join(map(seeds, groups.values())),
        minutes([row for group in groups.values() for row in group]),
        f"{goal if flow == 'planar' else ''}falling in K, no mode missed at K = 32",
        verdict(not_falling(groups), failures),
    )


def lengths(cells: dict, target: str, flow: str) -> dict[int, list[dict]]:
    return {K: cells[target, flow, K] for K in fig3.CURVE if (target, flow, K) in cells}


def median_kl(group: list[dict], kind: str = "kl") -> float:
    return median(row["values"][kind][0] for row in group)


def not_falling(groups: dict[int, list[dict]]) -> list[str]:
    """Where the median KL rises to the next length, by two standard errors of the draws or more."""
    medians = {K: median_kl(group) for K, group in groups.items()}
    errors = {K: fig3.median_row(group)["values"]["kl"][1] for K, group in groups.items()}
    return [
        f"the median goes from {medians[a]:.3g} at K = {a} to {medians[b]:.3g} at K = {b}"
        for a, b in pairwise(sorted(medians))
        if medians[b] - medians[a] > 2 * hypot(errors[a], errors[b])
    ]


def figure_3(rows: list[dict]) -> dict:
    """Figure 3 in full: the recipe, the medians against K, and every panel."""
    cells = fig3.cells(rows)
    medians = [
        [f"{t} {LABELS[f]}"]
        + [f"{median_kl(cells[t, f, K]):.4f}" if (t, f, K) in cells else "" for K in fig3.CURVE]
        for t in fig3.TARGETS
        for f in fig3.FLOWS
    ]
    panels = []
    for target, flow, K in sorted(cells, key=lambda key: (key[0], fig3.FLOWS.index(key[1]))):
        if K not in fig3.LENGTHS:
            continue
        group = cells[target, flow, K]
        kls = sorted(row["values"]["kl"][0] for row in group)
        lost = sum(fig3.missed(row["values"]) > 0 for row in group)
        panels.append(
            [
                f"{target} {LABELS[flow]}, K = {K}",
                f"{median(kls):.4f}",
                f"{fig3.median_row(group)['values']['kl'][1]:.4f}",
                f"{kls[0]:.4f} to {kls[-1]:.4f}",
                f"{median_kl(group, 'forward_kl'):.4f}",
                f"{lost}" if target != "U2" else "",
                seeds(group),
                minutes(group),
            ]
        )
    return {
        "recipes": recipes(rows),
        "annealing": rows[0]["settings"]["annealing"],
        "draws": rows[0]["settings"]["draws"],
        "missed": fig3.MISSED,
        "left": len(fig3.tasks()) - len(rows),
        "lengths": [f"K = {K}" for K in fig3.CURVE],
        "medians": medians,
        "panels": panels,
    }


def recipes(rows: list[dict]) -> str:
    """The recipe of each length and target, those with the same one together."""
    cells = {}
    for row in rows:
        s = row["settings"]
        recipe = tuple(s[name] for name in ("steps", "batch", "rate", "width"))
        cells.setdefault(recipe, set()).add((s["K"], s["target"]))
    parts = []
    for (steps, batch, rate, width), where in sorted(cells.items()):
        of_K, targets = (", ".join(map(str, sorted(set(x)))) for x in zip(*where, strict=True))
        parts.append(
            f"{steps:,} steps of {batch} draws, peak rate {rate:g}, standard deviation at the "
            f"start {width:g} (K = {of_K}; {targets})"
        )
    return "; ".join(parts)


def runs_of(rows: list[dict], name: str, target: str, flow: str = "planar") -> list[dict]:
    settings = fig3.ablated(name, target, flow=flow)
    return [row for row in rows if row["settings"] == settings]


def changes(rows: list[dict], names: Iterable[str], columns: Iterable[tuple]) -> list[list[str]]:
    """A line for each choice of the recipe, changed alone; three cells a (target, flow)."""
    found = []
    for name in names:
        line = [name]
        for target, flow in columns:
            group = runs_of(rows, name, target, flow)
            kls = sorted(row["values"]["kl"][0] for row in group)
            lost = sum(fig3.missed(row["values"]) > 0 for row in group)
            line += [f"{median(kls):.4f}", f"{kls[0]:.4f} to {kls[-1]:.4f}"] if kls else ["", ""]
            line += [f"{lost} of {len(kls)}"]
        found.append(line)
    return found


def ablations(rows: list[dict]) -> list[list[str]]:
    return changes(rows, fig3.ABLATIONS, [("U1", "planar"), ("U3", "planar")])


def trials(results: dict) -> list[list[str]]:
    """NICE on U1 as in figure 3, and by each choice that was tried beside it."""
    rows = [*results.get("fig3", []), *results["trials"]]
    columns = [("U1", flow) for flow in fig3.FLOWS[2:]]
    return changes(rows, ["as in figure 3", *fig3.TRIALS], columns)


def printed_pairs(rows: list[dict]) -> list[tuple[str, str, str]]:
    """(what, median KL with the printed constraint, with the shifted one), where both were run."""
    found = []
    for shifted, printed in (
        ("as in figure 3", "printed constraint"),
        ("small start", "small start, printed constraint"),
    ):
        for target in ("U1", "U3"):
            both = [runs_of(rows, name, target) for name in (printed, shifted)]
            if all(both):
                name = f"{target}{', small start' if shifted == 'small start' else ''}"
                found.append((name, *(f"{median_kl(group):.4f}" for group in both)))
    return found
