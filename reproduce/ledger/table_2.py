"""Figure 4 and table 2: every number of the paper beside ours, in two blocks, and what differs.

A model is (flow, K), trained on pixels that are drawn once (fixed, as in the paper) or anew at each
meeting (redrawn). Rows may have come to different epochs: a number is judged at its model's longest
training, a difference between two models at the longest training that both have had.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from reproduce import paper
from reproduce.fig3 import LABELS
from reproduce.ledger.verdicts import judge, minutes, seeds
from reproduce.results import PLAIN

BLOCKS = {"fixed pixels": set(), "redrawn pixels": {"redraw"}}
FEW = ("nll_200_of_these", "nll_5000")
RECIPE = {"path_gradient", "average"}  # settings that the present recipe brought
Models = dict[tuple[str, int], dict[int, list[dict]]]


@dataclass
class Number:
    """A number of the paper: block -> what is ours, and the verdict; rival is another's."""

    item: str
    printed: str
    ours: dict[str, tuple[str, str]]
    rival: str = ""


def models(rows: list[dict], block: str) -> Models:
    """(flow, K) -> epochs -> the rows of all seeds, of models with nothing changed."""
    found = {}
    for row in rows:
        s = row["settings"]
        if s.keys() == PLAIN | BLOCKS[block]:
            of_model = found.setdefault((s["flow"], s["K"]), {})
            of_model.setdefault(s["epochs"], []).append(row)
    order = ["none", *paper.TABLE_2]
    place = {flow: i for i, flow in enumerate(order)}
    ordered = sorted(found, key=lambda model: (place.get(model[0], len(place)), model[1]))
    return {model: dict(sorted(found[model].items())) for model in ordered}


def name_of(flow: str, K: int) -> str:
    if K == 0:
        return "no flow"
    note = " (not in the paper)" if flow not in paper.TABLE_2 else ""
    return f"{LABELS.get(flow, flow)}, K = {K}{note}"


def mean(rows: list[dict], key: str) -> float:
    return fmean(row["values"][key] for row in rows)


def error(rows: list[dict], key: str) -> float:
    """Standard error over test digits, and over seeds where there are several."""
    over_digits = fmean(row["values"][f"{key}_se"] for row in rows)
    if len(rows) < 2:
        return over_digits
    return (over_digits**2 + stdev(row["values"][key] for row in rows) ** 2 / len(rows)) ** 0.5


def difference(a: list[dict], b: list[dict], key: str) -> tuple[float, float | None]:
    """Mean of a minus that of b, with the paired standard error over the digits that both saw.

    The error is None where a row has no means over parts of the digits (`mnist.parts`).
    """
    gap, each = mean(a, key) - mean(b, key), f"{key}_parts"
    if not all(each in row["values"] for row in (*a, *b)):
        return gap, None
    x, y = ([fmean(part) for part in zip(*(r["values"][each] for r in of))] for of in (a, b))  # noqa: B905
    if len(x) != len(y) or a[0]["settings"]["images"] != b[0]["settings"]["images"]:
        return gap, None
    return gap, stdev(p - q for p, q in zip(x, y, strict=True)) / len(x) ** 0.5


def at_common(found: Models, one: tuple, other: tuple) -> tuple[list, list, int] | None:
    """The rows of two models at the longest training that both have had, and its epochs."""
    epochs = max(found.get(one, {}).keys() & found.get(other, {}).keys(), default=None)
    return None if epochs is None else (found[one][epochs], found[other][epochs], epochs)


def chain(found: Models, flow: str) -> list[tuple[str, int]]:
    """The models of one flow by length, the one without a flow first, of those that were run."""
    lengths = [("none", 0), *((flow, K) for K in sorted(paper.TABLE_2[flow]) if K > 0)]
    return [model for model in lengths if model in found]


def in_order(found: Models, model: tuple, flow: str, key: str) -> bool:
    """Does a number fall from the next shorter flow to this, and from this to the next longer?"""
    pairs = [pair for pair in pairwise(chain(found, flow)) if model in pair]
    both = [at_common(found, *pair) for pair in pairs]
    falls = [mean(longer, key) < mean(shorter, key) for shorter, longer, _ in filter(None, both)]
    return bool(falls) and all(falls)


def numbers(rows: list[dict]) -> list[Number]:
    """Every number of figure 4 and table 2, and the gain of each longest flow."""
    blocks = {block: models(rows, block) for block in BLOCKS}
    made = []
    for title, key, printed in (
        ("Fig 4: F", "F", paper.FIG_4_F),
        ("Fig 4: KL(q ‖ p)", "KL", paper.FIG_4_KL),
        ("Table 2: -ln p(x)", "nll", paper.TABLE_2),
    ):
        reading = paper.ROUNDED if key == "nll" else paper.READ_OFF
        for flow, values in printed.items():
            for K, number in values.items():
                model = ("none", 0) if K == 0 else (flow, K)
                ours = {}
                for block, found in blocks.items():
                    ours[block] = ("", "not run")
                    if model in found:
                        epochs, looks = max(found[model].items())
                        value, se = mean(looks, key), error(looks, key)
                        ordered = in_order(found, model, flow, key)
                        said = judge(value, number, 2 * se + reading, ordered, key != "KL")
                        ours[block] = (f"{value:.2f} ± {se:.2f} at {epochs}", said)
                rival = paper.RIVALS.get(model, "") if key == "nll" else ""
                made.append(Number(f"{title}, {name_of(*model)}", f"{number:.2f}", ours, rival))
    return made + [gain(blocks, flow) for flow in paper.TABLE_2]


def gain(blocks: dict[str, Models], flow: str) -> Number:
    """What the longest flow gains over none, and its share of the paper's gain."""
    K = max(paper.TABLE_2[flow])
    printed, ours = paper.TABLE_2["planar"][0] - paper.TABLE_2[flow][K], {}
    for block, found in blocks.items():
        pair = at_common(found, ("none", 0), (flow, K))
        ours[block] = ("", "not run")
        if pair:
            value, se = difference(*pair[:2], "nll")
            text = f"{value:.2f}{plus_minus(se)} at {pair[2]}, {value / printed:.0%} of the paper's"
            within = 2 * (se or 0.0) + 2 * paper.ROUNDED
            ours[block] = (text, judge(value, printed, within, value > 0, lower=False))
    return Number(f"Table 2: gain of {name_of(flow, K)}", f"{printed:.2f}", ours)


def plus_minus(se: float | None) -> str:
    return "" if se is None else f" ± {se:.2f}"


def steps(rows: list[dict]) -> list[list[str]]:
    """A line for each step to a longer flow: the change of -ln p(x) in the paper, and here."""
    blocks = {block: models(rows, block) for block in BLOCKS}
    lines = []
    for flow, printed in paper.TABLE_2.items():
        lengths = [0, *(K for K in sorted(printed) if K > 0)]
        values = {0: paper.TABLE_2["planar"][0]} | printed
        for a, b in pairwise(lengths):
            line = [f"{LABELS.get(flow, flow)}, {a} to {b}", f"{values[b] - values[a]:+.2f}"]
            for found in blocks.values():
                pair = at_common(found, (flow, b), ("none", 0) if a == 0 else (flow, a))
                change, se = difference(*pair[:2], "nll") if pair else (None, None)
                line.append(f"{change:+.2f}{plus_minus(se)} at {pair[2]}" if pair else "")
            lines.append(line)
    return lines


def tables(rows: list[dict]) -> dict:
    """What the template shows: the numbers, the steps, each model, the curves, the ablations."""
    epochs = sorted({row["settings"]["epochs"] for row in rows})
    images = {row["settings"]["epochs"]: row["settings"]["images"] for row in rows}
    few = max(row["settings"].get("images_5000", 0) for row in rows)
    of_these = [f"the same, first {few:,} digits", "of these, 5,000 draws"] if few else []
    each, curves = [], []
    for block in BLOCKS:
        for model, looks in models(rows, block).items():
            name = f"{name_of(*model)}, {block}"
            last, values = max(looks.items())
            at = [f"{mean(looks[e], 'nll'):.2f}" if e in looks else "" for e in epochs]
            curves.append([name, *at])
            means = [f"{mean(values, k):.2f} ± {error(values, k):.2f}" for k in ("F", "KL", "nll")]
            has = "nll_5000" in values[0]["values"]
            of_few = [f"{mean(values, k):.2f}" if has else "" for k in FEW] if few else []
            time = minutes([row for look in looks.values() for row in look])
            each.append([name, str(last), *means, *of_few, seeds(values), time])
    heads = [block for block in BLOCKS for block in (block, "verdict")]
    found = numbers(rows)
    return {
        "heads": heads,
        "numbers": [
            [n.item, n.printed, *(cell for pair in n.ours.values() for cell in pair), n.rival]
            for n in found
        ],
        "blocks": [*BLOCKS],
        "steps": steps(rows),
        "each": each,
        "each_head": [
            "",
            "epochs",
            "F",
            "KL(q ‖ p)",
            "-ln p, 200 draws",
            *of_these,
            "seeds",
            "CPU min",
        ],
        "epochs": epochs,
        "curves": curves,
        "images": ", ".join(f"{images[e]:,} at {e}" for e in epochs),
        "ablations": ablations(rows),
        "differences": differences(rows),
    }


def changed(rows: list[dict]) -> list[tuple[dict, dict, list[dict]]]:
    """(row, what was changed, the rows of the same model without the change) of each ablation."""
    found, redrawn = [], models(rows, "redrawn pixels")
    for row in rows:
        s = row["settings"]
        change = {k: v for k, v in s.items() if k not in PLAIN | {"redraw"}}
        if change:
            found.append((row, change, redrawn.get((s["flow"], s["K"]), {}).get(s["epochs"], [])))
    return found


def ablations(rows: list[dict]) -> list[list[str]]:
    """A line for each model with one setting changed, beside the model itself."""
    lines = []
    for row, change, same in changed(rows):
        s = row["settings"]
        what = ", ".join(f"{k} = {v}" for k, v in change.items())
        off, se = difference([row], same, "nll") if same else (None, None)
        lines.append(
            [
                f"{name_of(s['flow'], s['K'])}, {s['epochs']} epochs: {what}",
                f"{row['values']['F']:.2f}",
                f"{row['values']['nll']:.2f}",
                f"{off:+.2f}{plus_minus(se)}" if same else "",
            ]
        )
    return lines


def printed_pairs(rows: list[dict]) -> list[tuple[str, str, str]]:
    """(what, -ln p with the printed constraint, with the shifted one), where both were run."""
    return [
        (
            f"MNIST, {name_of(row['settings']['flow'], row['settings']['K'])}",
            f"{row['values']['nll']:.2f}",
            f"{mean(same, 'nll'):.2f}",
        )
        for row, change, same in changed(rows)
        if change == {"printed_constraint": True} and same
    ]


def differences(rows: list[dict]) -> list[list[str]]:
    """What differs from the paper's recipe, and what was measured of it.

    Results that were computed before path gradients say so: their file has no ablation of them.
    """
    here = {what: list(pair) for what, pair in paper.DIFFERENCES.items()}
    if not any(RECIPE & row["settings"].keys() for row in rows):
        here["gradient"][1] = "the same"
    effects = {}
    for row, change, same in changed(rows):
        what = {"annealing": "annealing", "path_gradient": "gradient", "learning_rate": "optimizer"}
        what |= {"average": "optimizer", "amortized": "flow's outputs"}
        what |= {"amortised": "flow's outputs"}
        (setting, value), *more = change.items()
        if setting in what and not more and same:
            off, s = difference([row], same, "nll")[0], row["settings"]
            text = f"{setting} = {value}: {off:+.2f} ({name_of(s['flow'], s['K'])}, {s['epochs']})"
            effects.setdefault(what[setting], []).append(text)
    fixed, redrawn = (models(rows, block) for block in BLOCKS)
    for model in fixed.keys() & redrawn.keys():
        for epochs in fixed[model].keys() & redrawn[model].keys():
            off = mean(fixed[model][epochs], "nll") - mean(redrawn[model][epochs], "nll")
            text = f"once: {off:+.2f} ({name_of(*model)}, {epochs})"
            effects.setdefault("training pixels", []).append(text)
    return [[what, *pair, "; ".join(sorted(effects.get(what, [])))] for what, pair in here.items()]
