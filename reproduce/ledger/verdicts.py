"""What the ledger says of a number or a picture, and the small formats that its tables share."""

from collections.abc import Iterable
from dataclasses import dataclass

VERDICTS = ("equal", "better", "same order", "not", "not run")


@dataclass
class Line:
    """A picture, or something that is not here; `verdict` starts with one of VERDICTS."""

    item: str
    paper: str
    ours: str = ""
    seeds: str = ""
    minutes: str = ""
    tolerance: str = ""
    verdict: str = ""


def judge(ours: float, printed: float, within: float, ordered: bool, lower: bool = True) -> str:
    """The verdict of a number, in nats.

    within : two standard errors of ours and the reading error of the paper's. ordered : it stands
    among the numbers of the other lengths as the paper's does. lower : the lower, the better; else
    a difference in either direction is one.

    >>> judge(91.2, 89.9, 0.5, True), judge(85.0, 85.1, 0.5, True), judge(84.0, 85.1, 0.5, True)
    ('same order, 1.30 above', 'equal', 'better, 1.10 below')
    >>> judge(4.4, 6.8, 0.1, False, lower=False)
    'not, 2.40 below'
    """
    off = ours - printed
    size = f"{abs(off):.2f} {'above' if off > 0 else 'below'}"
    if abs(off) <= within:
        return "equal"
    if lower and off < 0:
        return f"better, {size}"
    return f"{'same order' if ordered else 'not'}, {size}"


def count(verdicts: Iterable[str]) -> dict[str, int]:
    """How many have each verdict.

    >>> count(["equal", "not run, because", "not, 2.00 below"])
    {'equal': 1, 'better': 0, 'same order': 0, 'not': 1, 'not run': 1}
    """
    words = [verdict.partition(",")[0] for verdict in verdicts]
    return {word: words.count(word) for word in VERDICTS}


def seeds(group: list[dict]) -> str:
    return str(len({row["seed"] for row in group}))


def minutes(rows: list[dict]) -> str:
    return f"{sum(row['cpu_seconds'] for row in rows) / 60:.1f}"
