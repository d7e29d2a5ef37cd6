"""The ledger's table of the study: `fit_posterior` on models of posteriordb."""

from collections import Counter

import numpy as np

from reproduce import posteriordb
from reproduce.results import accurate, outcomes

SHORT = {"usable with importance weights": "usable", "use the chains' draws": "chains"}
HEADS = [
    "model",
    "kind",
    "d",
    "N",
    "verdicts of the seeds",
    "worst mean, sd",
    "the same, model's own",
    "largest R-hat",
    "largest k-hat",
    "CPU s",
    "reference",
    "Stein",
]


def study(rows: list[dict]) -> dict:
    """Counts, and a line for each model: its verdicts, its worst errors over seeds, its cost."""
    worse = [row for row in rows if row["settings"].get("gaussian")]
    rows = [row for row in rows if not row["settings"].get("gaussian")]
    groups = {}
    for row in rows:
        groups.setdefault(row["settings"]["model"], []).append(row)
    return {
        "runs": len(rows),
        "models": len(groups),
        "kinds": len({row["values"]["kind"] for row in rows}),
        "counts": counted(outcomes(rows)),
        "accurate": sum(accurate(row["values"]["real"]) for row in rows),
        "weights": counted(outcomes(rows, weights=True)),
        "strict": sum(
            row["values"]["real"][0] > 0.1 and row["values"]["verdict"] != "do not trust"
            for row in rows
        ),
        "heads": HEADS,
        "single": sum(len(group) == 1 for group in groups.values()),
        "lines": [line(name, group) for name, group in groups.items()],
        "missed": missed(rows),
        "worse": {
            "runs": len(worse),
            "accurate": sum(accurate(row["values"]["real"]) for row in worse),
            "counts": counted(outcomes(worse)),
            "weights": counted(outcomes(worse, weights=True)),
            "missed": missed(worse),
        },
    }


def counted(found: list[str]) -> str:
    """
    >>> counted(["right pass", "right pass", "false refusal"])
    '2 right passes, 0 right refusals, 0 false passes and 1 false refusals'
    """
    counts = Counter(found)
    each = ("right pass", "right refusal", "false pass", "false refusal")
    words = [f"{counts[what]} {what}{'es' if what.endswith('s') else 's'}" for what in each]
    return ", ".join(words[:-1]) + " and " + words[-1]


def line(name: str, group: list[dict]) -> list[str]:
    reference, values = posteriordb.references()[name], [row["values"] for row in group]
    worst = [
        ", ".join(f"{max(v[where][i] for v in values):.2f}" for i in range(2))
        for where in ("real", "natural")
    ]
    r_hats = [v["r_hat"] for v in values if v["r_hat"] is not None]
    check = reference["stein"]
    return [
        name,
        values[0]["kind"],
        str(values[0]["d"]),
        str(values[0]["size"]),
        ", ".join(SHORT.get(v["verdict"], v["verdict"]) for v in values),
        *worst,
        f"{max(r_hats):.3f}" if r_hats else "",
        f"{max(v['k_hat'] for v in values):.2f}",
        f"{np.median([v['seconds'] for v in values]):.0f}",
        reference["source"],
        f"{max(check['gradient'], check['products']):.1f} of {check['numbers']}",
    ]


def missed(rows: list[dict]) -> list[list[str]]:
    """Every run whose verdict was false, with its reasons."""
    return [
        [row["settings"]["model"], str(row["seed"]), what, "; ".join(row["values"]["reasons"])]
        for row, what in zip(rows, outcomes(rows), strict=True)
        if what.startswith("false")
    ]
