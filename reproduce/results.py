"""Stored results and the paper's numbers: the one door through which notebooks take either.

A result file holds its rows, where they come from, and a checksum, which is verified here.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path

from reproduce import paper as paper

FOLDER, REFERENCES = Path(__file__).parent / "results", Path(__file__).parent / "reference"
MERGED, REFERENCE = "nflib_min results 1", "nflib_min reference 1"
PLAIN = {"flow", "K", "epochs", "images", "images_5000"}  # settings of a model without an ablation
FIGURE_4 = ("none", "planar", "nice-perm")


def load(name: str, folder: Path = FOLDER) -> list[dict]:
    """The rows of results/NAME.json, each with its settings, seed, values, CPU time and origin.

    >>> sorted(load("fig1")[0])
    ['commit', 'cpu_seconds', 'date', 'function', 'seed', 'settings', 'values', 'versions']
    """
    merged = read(folder / f"{name}.json", MERGED)
    return [
        {
            "function": merged["function"],
            "settings": merged["settings"] | row["settings"],
            "seed": row["seed"],
            "values": row["values"],
            "cpu_seconds": row["cpu_seconds"],
            **merged["origins"][row["origin"]],
        }
        for row in merged["rows"]
    ]


def reference(name: str) -> dict:
    """A long run of NUTS on the posterior NAME: moments, ln Z, diagnostics, cost.

    >>> max(reference("logistic")["diagnostics"]["r_hat"]) < 1.01
    True
    """
    return read(REFERENCES / f"{name}.json", REFERENCE)


def read(path: Path, form: str) -> dict:
    """A JSON file of a format, its checksum verified; ValueError says what is wrong with it."""
    refusal = f"{path.name}: expected a whole file of format {form!r}"
    try:
        record = json.loads(path.read_text("utf-8"))
        found = record.get("format")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{refusal}, got what JSON cannot read as one ({error})") from None
    if found != form:
        raise ValueError(f"{refusal}, got {found!r}")
    claimed = record.pop("sha256", None)
    if claimed != sha256(record):
        raise ValueError(f"{refusal}, got sha256 {sha256(record)} where it says {claimed}")
    return {**record, "sha256": claimed}


def canonical(value: object) -> str:
    """JSON with sorted keys and no NaN: equal values give equal text."""
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


def sha256(value: object) -> str:
    """The digest of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


# What notebook 03 reads: figure 3
def density(text: str) -> bytes:
    """The levels of a stored density, 255 at its maximum, of a square grid, row by row.

    >>> len(density(load("fig3_panels")[0]["values"]["density"]))  # 96 rows of 96
    9216
    """
    return zlib.decompress(base64.b64decode(text))


# What notebook 05 reads: figure 4 and table 2
def models(rows: list[dict], redrawn: bool = True) -> dict[tuple[str, int, int], dict]:
    """(flow, K, epochs) -> values, of the paper's flows with nothing changed, first seed.

    redrawn : trained on pixels that are drawn anew at each meeting; False: drawn once.
    """
    wanted, found = PLAIN | ({"redraw"} if redrawn else set()), {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        s = row["settings"]
        if s.keys() == wanted and s["flow"] in FIGURE_4:
            found.setdefault((s["flow"], s["K"], s["epochs"]), row["values"])
    return found


def longest(values: dict[tuple[str, int, int], dict]) -> int:
    """The latest epoch at which every model has been judged; ValueError if there is none."""
    each = {}
    for *model, epochs in values:
        each.setdefault(tuple(model), set()).add(epochs)
    common = set.intersection(*each.values()) if each else set()
    if not common:
        raise ValueError(f"figure 4: expected one epoch that all models reached, got {[*values]}")
    return max(common)


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


# What notebook 06 reads: models of posteriordb, and six posteriors by five families
def accurate(errors: list[float]) -> bool:
    """True if means are within 0.1 sd, and 0.04 for Monte Carlo errors, and sds within 15 %.

    >>> accurate([0.12, 0.03]), accurate([0.05, 0.21])
    (True, False)
    """
    return errors[0] <= 0.14 and errors[1] <= 0.15


def study(defaults: bool = True, folder: Path = FOLDER) -> list[dict]:
    """The study's runs with default settings; or those by Gaussians alone, which fit worse."""
    return [
        row
        for row in load("posteriordb", folder)
        if defaults != row["settings"].get("gaussian", False)
    ]


def outcomes(rows: list[dict], weights: bool = False) -> list[str]:
    """What became of each run of the study: right or false, a pass or a refusal.

    weights : of the verdict that the weights alone would have given on the same fit.
    """
    found = []
    for values in (row["values"] for row in rows):
        at = values["weights"] if weights else values
        passed, right = at["verdict"] != "do not trust", accurate(at["real"])
        found.append(f"{'right' if passed == right else 'false'} {'pass' if passed else 'refusal'}")
    return found


def medians(rows: list[dict]) -> dict[tuple[str, str], dict]:
    """(target, family) -> the values of the seed whose KL is the median, the lower one of two.

    Added: seconds, of one core; verdicts, of all seeds; draws, of the first seed, as lists.
    """
    runs = {}
    for row in rows:
        runs.setdefault((row["settings"]["target"], row["settings"]["family"]), []).append(row)
    found = {}
    for key, group in runs.items():
        group = sorted(group, key=lambda row: row["values"]["kl"][0])
        middle = group[(len(group) - 1) // 2]
        found[key] = middle["values"] | {
            "seconds": middle["cpu_seconds"],
            "verdicts": [row["values"].get("verdict") for row in group],
            "draws": next(row["values"]["draws"] for row in group if row["seed"] == 0),
        }
    return found
