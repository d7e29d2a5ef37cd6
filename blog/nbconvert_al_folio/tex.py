"""Check a formula and say it in MathJax 3's words, in one line, or safe for Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources

from .scan import Math, TexError

# --- checking -----------------------------------------------------------------------------------


@cache
def _mathjax_names() -> tuple[frozenset[str], frozenset[str]]:
    text = resources.files(__package__).joinpath("mathjax_names.txt").read_text("utf-8")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        frozenset(name for row in rows if row[0] == kind for name in row[1:])
        for kind in ("command", "environment")
    )


_TEXT = re.compile(r"\\(?:text\w*|mbox|hbox|fbox)\s*\{")
_DEFINES = re.compile(
    r"\\(?:(?:re)?newcommand\*?\s*\{?\s*\\(?P<a>[A-Za-z]+)|def\s*\\(?P<b>[A-Za-z]+)"
    r"|let\s*\\(?P<c>[A-Za-z]+)|DeclareMathOperator\*?\s*\{?\s*\\(?P<d>[A-Za-z]+)"
    r"|(?:re)?newenvironment\s*\{(?P<e>[A-Za-z]+\*?)\})"
)


def definitions(formulas: Iterable[Math]) -> frozenset[str]:
    """Names that a notebook defines for itself with \\newcommand, \\def, \\let and the like.

    >>> sorted(definitions([Math(r"\\newcommand{\\E}{\\mathbb{E}}", False, "")]))
    ['E']
    """
    return frozenset(
        name
        for formula in formulas
        for match in _DEFINES.finditer(formula.tex)
        for name in match.groups()
        if name
    )


def _tokens(tex: str) -> Iterator[str]:
    """Commands, environments, braces; comments, escaped characters and \\text are left out."""
    tex = re.sub(r"(?<!\\)((?:\\\\)*)%.*", r"\1", tex)
    for match in re.finditer(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|[{}&]", tex, re.S):
        yield match[0]


def check(tex: str, defined: frozenset[str] = frozenset()) -> None:
    """Refuse what MathJax 3 would print in red: unbalanced or unknown TeX.

    Braces, \\left..\\right and \\begin..\\end must nest; each command and environment must be one
    of MathJax 3.2.2's or in `defined`. Raises TexError which says what is wrong.

    >>> check(r"\\frac{1}{2")
    Traceback (most recent call last):
    nbconvert_al_folio.scan.TexError: { that nothing closes in '\\\\frac{1}{2'
    """
    commands, environments = _mathjax_names()
    where = f"in {' '.join(tex.split())[:60]!r}"
    stack: list[str] = []
    for token in _tokens(tex):
        kind = re.match(r"\\?[A-Za-z]*|", token)[0] or token
        if kind in ("\\begin", "\\end"):
            name = token[token.index("{") + 1 : -1]
            if name not in environments and name not in defined:
                raise TexError(f"an environment MathJax does not know: {token} {where}")
            token = f"\\begin{{{name}}}"
        opened = token if kind in ("{", "\\left", "\\begin") else None
        closes = {"}": "{", "\\right": "\\left", "\\end": token}.get(kind)
        if opened:
            stack.append(opened)
        elif closes:
            if not stack or stack.pop() != closes:
                raise TexError(f"{kind if kind != chr(92) + 'end' else token} out of place {where}")
        elif kind == "&" and not stack:
            entity = re.search(r"&(?:lt|gt|amp);", tex)
            what = (
                f"{entity[0]}, which is HTML," if entity else "& outside of an array or alignment"
            )
            raise TexError(f"{what} {where}")
        elif kind[1:].isalpha() and kind[1:] not in commands and kind[1:] not in defined:
            raise TexError(f"a macro MathJax does not know: {kind} {where}")
    if stack:
        raise TexError(f"{stack[-1]} that nothing closes {where}")


def labels(tex: str) -> list[str]:
    """The \\label names of a formula, in order."""
    return re.findall(r"\\label\s*\{([^{}]*)\}", tex)


def references(tex: str) -> list[str]:
    """The names that \\ref and \\eqref of a formula point to, in order."""
    return re.findall(r"\\(?:eq)?ref\s*\{([^{}]*)\}", tex)


_NUMBERED = re.compile(
    r"\\begin\{(?:equation|align|gather|multline|flalign|alignat|eqnarray)\}|\\tag\b"
)
_STARRED = re.compile(r"\\begin\{(?:equation|align|gather|multline|flalign|alignat|eqnarray)\*\}")


def numbered(formula: Math, wanted: frozenset[str]) -> str:
    """The TeX of a formula, in an `equation` if a wanted label in it has no number to give.

    MathJax prints ??? for a reference to an equation without a number, and `$$..\\label{a}..$$` has
    none.  Raises TexError where no number can be given: inline, or in a starred environment.

    >>> numbered(Math(r"x \\label{a}", True, ""), frozenset("a"))
    '\\\\begin{equation}\\nx \\\\label{a}\\n\\\\end{equation}'
    """
    bare = wanted.intersection(labels(formula.tex))
    if not bare or _NUMBERED.search(formula.tex):
        return formula.tex
    if not formula.display or _STARRED.search(formula.tex):
        raise TexError(f"a reference to {min(bare)!r}, whose formula has no number to refer to")
    return f"\\begin{{equation}}\n{formula.tex}\n\\end{{equation}}"


# --- macros that MathJax lacks ------------------------------------------------------------------


def _derivative(symbol: str) -> Callable[[str | None, list[str]], str]:
    def expand(order: str | None, args: list[str]) -> str:
        top, bottom = ("", args[0]) if len(args) == 1 else args
        power = f"^{{{order}}}" if order else ""
        return rf"\frac{{{symbol}{power} {top}}}{{{symbol} {bottom}{power}}}"

    return expand


def _fence(side: str) -> Callable[[str | None, list[str]], str]:
    def expand(_: str | None, args: list[str]) -> str:
        # around a mere letter MathJax's \\left would draw bars smaller than the usual ones
        tall = re.search(r"\\(?:[dt]?frac|sum|prod|int|begin|sqrt|binom)", args[0])
        left, right = (r"\left", r"\right") if tall else ("", "")
        return rf"{left}\l{side} {args[0]} {right}\r{side} "

    return expand


# name: (least and greatest number of arguments, expansion of the optional one and the others);
# an argument after the first must be in braces, as \pdv{x} and \pdv{f}{x} are both in use
_MACROS: dict[str, tuple[int, int, Callable[[str | None, list[str]], str]]] = {
    "pdv": (1, 2, _derivative(r"\partial")),
    "dv": (1, 2, _derivative(r"\mathrm{d}")),
    "bm": (1, 1, lambda _, a: rf"\boldsymbol{{{a[0]}}}"),
    "norm": (1, 1, _fence("Vert")),
    "abs": (1, 1, _fence("vert")),
    "argmax": (0, 0, lambda _, a: r"\operatorname*{arg\,max}"),
    "argmin": (0, 0, lambda _, a: r"\operatorname*{arg\,min}"),
    "coloneqq": (0, 0, lambda _, a: r"\mathrel{:=}"),
    "coloneq": (0, 0, lambda _, a: r"\mathrel{:=}"),
    "eqqcolon": (0, 0, lambda _, a: r"\mathrel{=:}"),
    "dd": (0, 1, lambda _, a: rf"\mathrm{{d}}{{{a[0]}}}" if a else r"\mathrm{d}"),
}
_NAME = re.compile(r"\\([A-Za-z]+)\*?")


def expand(tex: str, defined: frozenset[str] = frozenset()) -> str:
    """Write out the macros of physics, bm, mathtools and commath that stock MathJax 3 lacks.

    A macro that the notebook defines itself (`defined`) is left alone.

    >>> expand(r"\\det\\pdv{f}{z} \\coloneqq \\norm{x}")
    '\\\\det\\\\frac{\\\\partial f}{\\\\partial z} \\\\mathrel{:=} \\\\lVert x \\\\rVert '
    """
    out, at = [], 0
    while match := re.compile(r"\\(?:[A-Za-z]+\*?|.)", re.S).search(tex, at):
        name = match[0][1:].rstrip("*")
        if name not in _MACROS or name in defined:
            out.append(tex[at : match.end()])
            at = match.end()
            continue
        out.append(tex[at : match.start()])
        least, most, write = _MACROS[name]
        at, option, args = match.end(), None, []
        if most and (bracket := re.compile(r"\s*\[([^\[\]]*)\]").match(tex, at)):
            option, at = bracket[1], bracket.end()
        while len(args) < most:
            end, arg = _argument(tex, at, braces=len(args) >= max(least, 1) or least == 0)
            if arg is None:
                break
            args.append(expand(arg, defined))
            at = end
        if len(args) < least:
            raise TexError(f"\\{name} without its argument in {tex[:60]!r}")
        written = write(option, args)
        # a control word must not run into the letter after it
        out.append(written + " " if re.search(r"\\[A-Za-z]+$", written) else written)
    return "".join(out) + tex[at:]


def _argument(tex: str, at: int, braces: bool) -> tuple[int, str | None]:
    start = re.compile(r"\s*").match(tex, at).end()
    if start >= len(tex):
        return at, None
    if tex[start] == "{":
        depth = 0
        for piece in re.compile(r"\\.|[{}]", re.S).finditer(tex, start):
            depth += {"{": 1, "}": -1}.get(piece[0], 0)
            if depth == 0:
                return piece.end(), tex[start + 1 : piece.start()]
        return at, None
    if braces or tex[start] in "}^_&":
        return at, None
    single = re.compile(r"\\[A-Za-z]+|\\.|.", re.S).match(tex, start)
    return single.end(), single[0]


# --- saying it in one line, or in Markdown -------------------------------------------------------


def one_line(tex: str) -> str:
    """Join the lines of a formula; a comment would swallow what follows, so it goes.

    >>> one_line("a % the first\\n  + b")
    'a + b'
    """
    lines = tex.splitlines()
    bare = [re.sub(r"(?<!\\)((?:\\\\)*)%.*", r"\1", line) for line in lines[:-1]] + lines[-1:]
    return " ".join(line.strip() for line in bare if line.strip())


def without_pipes(tex: str) -> str | None:
    """Write `|` as \\vert and `\\|` as \\Vert, which no Markdown table can mistake for a border.

    None where that would change the meaning: in \\text and in an array's column pattern.

    >>> without_pipes(r"\\|x\\| |y|")
    '\\\\Vert x\\\\Vert  \\\\vert y\\\\vert '
    """
    if "|" not in tex:
        return tex
    if _TEXT.search(tex) or re.search(r"\\begin\{(?:\w*array|subarray)\}", tex):
        return None
    return re.sub(r"\\\\|\\?\|", lambda m: {"|": r"\vert ", r"\|": r"\Vert "}.get(m[0], m[0]), tex)
