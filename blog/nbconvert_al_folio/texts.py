"""All Markdown and TeX of a notebook, parsed as one document and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import tex
from .parse import Cell, Shared, parse
from .problems import Problems
from .scan import Math, TexError

TEX_REMEDY = "mend the formula, or define the macro in the notebook with \\newcommand"


@dataclass(frozen=True)
class Source:
    """A Markdown cell, or an output of Markdown or TeX, for which plain text may be to `spare`."""

    key: str
    where: str
    text: str
    spare: bool = False


class Texts(dict[str, Cell]):
    """The parsed sources by key; an output that plain text must stand for is missing."""

    def __init__(self, sources: list[Source], problems: Problems) -> None:
        self.problems = problems
        self.wheres = {source.key: source.where for source in sources}
        shared = Shared.of((source.key, source.text) for source in sources)
        for source in sources:
            problems.where = source.where
            try:
                self[source.key] = parse(source.text, source.key, shared)
            except TexError as error:
                if source.spare:
                    self._spared(error)
                else:
                    problems.error(str(error), TEX_REMEDY, excusable=True)
                    text = re.sub(r"(?=\\begin|\$)", r"\\", source.text)
                    self[source.key] = parse(text, source.key, shared)
        self.defined = tex.definitions(f for cell in self.values() for f in cell.formulas)
        for source in sources:
            if source.spare and source.key in self:
                self._spare(source)
        self.wanted = frozenset(
            name for _, formula in self._formulas() for name in tex.references(formula.tex)
        )
        self.used = {name for cell in self.values() for name in cell.notes.values()}

    def _spare(self, source: Source) -> None:
        """Give an output of TeX up that MathJax would print in red, such as a tabular."""
        self.problems.where = source.where
        try:
            for formula in self[source.key].formulas:
                tex.check(tex.expand(formula.tex, self.defined), self.defined)
        except TexError as error:
            self._spared(error)
            del self[source.key]

    def _spared(self, error: TexError) -> None:
        self.problems.warn(f"plain text stands for an output of LaTeX: {error}")

    def _formulas(self) -> list[tuple[str, Math]]:
        return [(key, formula) for key, cell in self.items() for formula in cell.formulas]

    def check(self) -> None:
        """Check every formula, and that each reference has its label and each label one place."""
        seen: dict[str, str] = {}

        def error(what: str) -> None:
            self.problems.error(what, TEX_REMEDY, excusable=True)

        for key, formula in self._formulas():
            self.problems.where = self.wheres[key]
            try:
                written = tex.expand(tex.numbered(formula, self.wanted), self.defined)
                tex.check(written, self.defined)
            except TexError as problem:
                error(str(problem))
            for label in tex.labels(formula.tex):
                if label in seen:
                    cell = seen[label].split("o")[0][1:]
                    error(f"\\label{{{label}}} stands already in cell {cell}")
                seen.setdefault(label, key)
        for key, formula in self._formulas():
            self.problems.where = self.wheres[key]
            for name in tex.references(formula.tex):
                if name not in seen:
                    error(f"a reference to {name!r}, which no \\label defines")
