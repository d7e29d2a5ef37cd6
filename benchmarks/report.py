"""The tables of both READMEs, all from results/*.json: no number is typed by hand."""

import statistics
from pathlib import Path

from benchmarks import cells
from benchmarks.cells import CELLS, Cell
from benchmarks.numbers import (
    NAMES,
    RESULTS,
    digits,
    duration,
    import_seconds,
    load,
    median,
    megabytes,
    ratio,
    verdicts,
)
from benchmarks.plot import INK, alt, plot
from tools.files import write
from tools.markdown import between, render

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

SHORT = (
    ("planar K = 8, n = 100", "planar-8-100-float64"),
    ("planar K = 32, n = 1000", "planar-32-1000-float64"),
    ("coupling n = 100", "coupling-8-100-float64"),
    ("ln q, 100,000 points", "density-32-100000-float64"),
    ("draw 100,000", "sampling-32-100000-float64"),
    ("amortized", "amortized-10-100-float32"),
    ("cold start", "cold"),
)
SHORT_ROWS = (
    *("ours", "normflows", "pyro", "nflows", "zuko", "flowjax"),
    *("torch", "jax", "jax-scan"),
)


def short_table(results: dict) -> tuple[list[str], list[list[str]]]:
    """At a glance: one line a library, one column a computation, as multiples of ours."""
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
    return head, rows


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
    kinds = {machine.get("instructions") for machine in machines} - {None}
    vectors = f" with {' and '.join(sorted(kinds))}" if kinds else ""
    count = f", {machines[0]['cores']} cores" if len(where) == 1 else ""
    cores = f"{', '.join(where)}{vectors}{count}{busy}"
    return f"{cores}; {when}; {machines[0]['threads']}; {rounds}."


def short_report(results: dict) -> str:
    """What goes between the markers of README.md."""
    found, scan = verdicts(results), results.get("planar-32-1000-float64")
    share = ratio(scan, "jax-scan", "ours") if scan else 1.0
    return render(
        FOLDER / "SHORT.md.j2",
        alt=alt(results),
        where=", ".join(sorted({record["machine"]["processor"] for record in results.values()})),
        scan=digits(share) if share < 1 else "",
        lost=sum(not verdict.reached for verdict in found),
        targets=len(found),
    )


TITLES = {
    "planar": "Planar step (K, n)",
    "coupling": "Coupling step, 8 layers (n)",
    "density": "Sample 100,000 points with ln q, K = 32",
    "sampling": "Draw 100,000 points, K = 32",
    "amortized": "Amortized step, 784-400-40, K = 10, batch 100",
}


def full_report(results: dict) -> str:
    """What goes between the markers of benchmarks/README.md."""
    steps = []
    for kind, title in TITLES.items():
        for dtype in cells.TOLERANCE:
            of_kind = [cell for cell in CELLS if (cell.kind, cell.dtype) == (kind, dtype)]
            if chosen := [cell for cell in of_kind if cell.name in results]:
                steps.append((f"{title}, {dtype}", *kind_table(results, kind, chosen)))
    parts = {"cold": cold_rows, "footprint": footprint_rows, "scaling": scaling_rows}
    return render(
        FOLDER / "REPORT.md.j2",
        conditions=conditions(results),
        versions=versions(results),
        short=short_table(results),
        targets=[[v.text, v.found, "yes" if v.reached else "**no**"] for v in verdicts(results)],
        steps=steps,
        **{name: rows(results[name]) if name in results else None for name, rows in parts.items()},
    )


def versions(results: dict) -> str:
    of = next(iter(results.values()))["machine"]["versions"]
    return "Versions: " + ", ".join(f"{name} {value}" for name, value in sorted(of.items())) + "."


def kind_table(results: dict, kind: str, chosen: list[Cell]) -> tuple[list, list]:
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
    return ["", *heads, "first step, compiling included"], rows


def cold_rows(record: dict) -> dict:
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
    return {"cell": record["cell"], "rows": rows}


def footprint_rows(record: dict) -> list[list[str]]:
    return [
        [
            NAMES[name].replace(" by hand", "").replace(", jit", ""),
            f"{import_seconds(record, name):.2f} s",
            megabytes(record["installed"][name]["bytes"]),
            str(len(record["installed"][name]["packages"])),
        ]
        for name in NAMES
        if name in record["installed"]
    ]


def scaling_rows(record: dict) -> dict:
    """How a step grows, what memory it takes, and its parts in rows with sizes in columns."""
    growth = []
    for name, of in record["sweeps"].items():
        sizes = ", ".join(str(tuple(size)) for size in (of["sizes"][0], of["sizes"][-1]))
        costs = " to ".join(duration(of["seconds"][i]) for i in (0, -1))
        growth.append([name, sizes, costs, f"{of['slope']:.2f}"])
    memory = [
        [str(tuple(of["size"])), f"{of['states'] / 1e6:.2f} MB", f"{of['peak'] / of['states']:.2f}"]
        for of in record["memory"]
    ]
    sizes = [f"K = {K}, n = {n}" for K, n in (of["size"] for of in record["profile"])]
    parts = [
        [part, *(duration(of["seconds"][part]) for of in record["profile"])]
        for part in record["profile"][0]["seconds"]
    ]
    return {"growth": growth, "memory": memory, "sizes": sizes, "parts": parts}


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
        text = path.read_text(encoding="utf-8")
        write(path, between(text, BEGIN, END, generated, path.name))
    for mode in INK:
        write(folder / f"speed-{mode}.png", plot(results, mode))
    for verdict in verdicts(results):
        word = "reached    " if verdict.reached else "NOT REACHED"
        print(f"{word}  {verdict.text}: {verdict.found}")
    return 0
