"""What keeps a notebook from becoming a post: all of it in one list, each entry with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbconvert.utils.exceptions import ConversionException


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the notebook and cell, what was found, and what to do about it."""

    where: str
    what: str
    remedy: str = ""


class Refused(ConversionException, ValueError):
    """The notebooks cannot become posts as they are; `problems` lists every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(told(problems))
        self.problems = problems


class Stop(Exception):
    """Ends the reading of one output or picture: what was found, and the remedy."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def told(problems: list[Problem]) -> str:
    """The problems line by line; a remedy that several share stands once, after the last of them.

    >>> print(told([Problem("a.ipynb, cell 1", "no alt text", "write one")]))
    a.ipynb, cell 1: no alt text (write one)
    """
    groups: dict[str, list[Problem]] = {}
    for problem in dict.fromkeys(problems):
        groups.setdefault(problem.remedy, []).append(problem)
    lines = []
    for remedy, group in groups.items():
        said = [f"{problem.where}: {problem.what}" for problem in group]
        if remedy and len(group) == 1:
            said[0] += f" ({remedy})"
        elif remedy:
            said.append(f"    what helps in these {len(group)} places: {remedy}")
        lines += said
    return "\n".join(lines)


class Problems:
    """Collects errors and warnings; `where` is the place that is being read.

    The options say what is excused: `lenient` everything that may be, `missing_alt`,
    `allow_errors` and `allow_unexecuted` one kind each; what is excused becomes a warning.
    """

    def __init__(self, options: Any) -> None:
        self.excused = {
            True: options.lenient,
            "alt": options.lenient or options.missing_alt == "warn",
            "error": options.lenient or options.allow_errors,
            "unexecuted": options.lenient or options.allow_unexecuted,
        }
        self.where = ""
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, what: str, remedy: str = "", excusable: bool | str = False) -> None:
        if self.excused.get(excusable, False):
            self.warn(what)
        else:
            self.errors.append(Problem(self.where, what, remedy))

    def warn(self, what: str, remedy: str = "") -> None:
        self.warnings.append(Problem(self.where, what, remedy))
