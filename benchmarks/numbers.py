"""What the results say: ratios, their formats, and whether each target is reached."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cells import CELLS, Cell

RESULTS = Path(__file__).parent / "results"
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
    planar, amortized = of_kind("planar"), of_kind("amortized")
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
        ("density and sampling: behind no library", 1, points, LIBRARIES, "ours"),
        ("amortized: 1.1 of PyTorch by hand", 1.1, amortized, ("torch",), "ours"),
        ("amortized: 1.3 of JAX by hand", 1.3, amortized, ("jax",), "ours"),
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
