"""Find the mathematics in a Markdown cell, check it and say it in MathJax 3's words.

The scanner reads a cell from left to right, as JupyterLab does before any Markdown is parsed:
code is passed over, each formula is replaced by one private character, and what remains is
ordinary Markdown in which no `_`, `*`, `|` or newline of a formula can do harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from markdown_it import MarkdownIt

FIRST = 0xF0000  # one character of a private-use plane stands for one formula
MARK = re.compile("[\U000f0000-\U000ffffd]")


class TexError(ValueError):
    """TeX that MathJax 3 would not typeset as written."""


@dataclass(frozen=True)
class Math:
    """One formula: its TeX, whether it is displayed, and the text it was written as."""

    tex: str
    display: bool
    source: str


# --- finding ------------------------------------------------------------------------------------

_CODE = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=ticks)(?!`)", re.S)
_ATTRIBUTE = r"""\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?"""
_TAG = re.compile(rf"</?[A-Za-z][A-Za-z0-9-]*(?:{_ATTRIBUTE})*\s*/?>|<!--.*?-->", re.S)
_RAW = re.compile(r"<(script|style|pre|code|textarea)\b[^>]*>.*?</\1\s*>", re.S | re.I)
_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]+:[^\s<>]*>")
_BEGIN = re.compile(r"\\begin\{([A-Za-z]+\*?)\}")
_REFERENCE = re.compile(r"\\(?:eq)?ref\{[^{}\n]*\}")
# "costs $5 and the density $q$", "$5와 $q$": an amount and words, not a formula; nor is "5$와 6$"
_MONEY = re.compile(r"\d[\d,.]*\s*(?:[\uac00-\ud7a3]|[A-Za-z]{2,}\s(?:[^\\_^={}]*\s)?$)")
_ROW = re.compile(r"\n[ \t]*\|")
_BLANK = re.compile(r"\n[ \t]*\n")


def scan(source: str, markdown: bool = True) -> tuple[str, list[Math]]:
    """Replace each formula of a Markdown source (or of plain text) by one private character.

    Found are `$..$` (not across a blank line; "$5 and $10" is money),
    `$$..$$`, `\\\\(..\\\\)`, `\\\\[..\\\\]`, a bare environment `\\begin{..}..\\end{..}` and a bare
    `\\ref` or `\\eqref`; `$` in code, in tags and after a backslash is text.
    Returns the text and the formulas in order; raises TexError for mathematics left open.

    >>> text, found = scan("the density $q(z)$ and `$HOME`")
    >>> found[0].tex, len(text)
    ('q(z)', 25)
    """
    if MARK.search(source):
        raise TexError("a private-use character (U+F0000 and above), which marks formulas here")
    out: list[str] = []
    found: list[Math] = []
    code = _code_blocks(source) if markdown else {}
    at = 0
    while at < len(source):
        hit = None if at in code else _formula(source, at, code)
        if hit is None:
            stop = code.get(at) or _skip(source, at, markdown)
            out.append(source[at:stop])
        else:
            tex, display, stop = hit
            out.append(chr(FIRST + len(found)))
            found.append(Math(_unquote(source, at, tex), display, source[at:stop]))
        at = stop
    return "".join(out), found


def _code_blocks(source: str) -> dict[int, int]:
    """Where each fenced or indented code block begins, and where it ends."""
    starts = [0, *(match.end() for match in re.finditer("\n", source)), len(source)]
    blocks = [
        t for t in MarkdownIt("commonmark").parse(source) if t.type in ("fence", "code_block")
    ]
    return {starts[t.map[0]]: starts[min(t.map[1], len(starts) - 1)] for t in blocks}


def _skip(source: str, at: int, markdown: bool) -> int:
    """End of the piece of text or code that begins here and holds no mathematics."""
    char = source[at]
    if char == "\\":
        return min(at + 2, len(source))
    if markdown and char == "`":
        span = _CODE.match(source, at)
        return span.end() if span else re.compile("`+").match(source, at).end()
    if markdown and char == "<":
        for pattern in (_RAW, _TAG, _AUTOLINK):
            if tag := pattern.match(source, at):
                return tag.end()
    return at + 1


def _formula(source: str, at: int, code: dict[int, int]) -> tuple[str, bool, int] | None:
    """TeX, display flag and end of the formula that begins here, if one does."""
    if source.startswith("$$", at):
        end = _closing(source, at + 2, "$$", {})
        if end is None:
            raise TexError(f"$$ that nothing closes: {source[at : at + 40]!r}")
        return source[at + 2 : end], True, end + 2
    if source[at] == "$":
        end = _closing(source, at + 1, "$", code)
        return None if end is None else (source[at + 1 : end], False, end + 1)
    if source[at] != "\\":
        return None
    for opening, closing, display in (("\\\\(", "\\\\)", False), ("\\\\[", "\\\\]", True)):
        if source.startswith(opening, at):
            end = source.find(closing, at + 3)
            inner = source[at + 3 : end]
            if end > 0 and inner.strip() and (display or not _BLANK.search(inner)):
                return inner, display, end + 3
    if begin := _BEGIN.match(source, at):
        end = _environment_end(source, begin[1], begin.end())
        if end is None:
            raise TexError(f"{begin[0]} without \\end{{{begin[1]}}}")
        return source[at:end], True, end
    if reference := _REFERENCE.match(source, at):
        return reference[0], False, reference.end()
    return None


def _closing(source: str, at: int, mark: str, code: dict[int, int]) -> int | None:
    """Where `$` or `$$` closes: outside braces if it can be, else at the first occasion."""
    inline = mark == "$"
    in_table = source[source.rfind("\n", 0, at) + 1 :].lstrip().startswith("|")
    first, depth, start = None, 0, at
    while at < len(source) and at not in code:
        char = source[at]
        if char == "\\":
            at += 2
            continue
        if inline and char == "\n":
            if _BLANK.match(source, at) or (in_table and _ROW.match(source, at)):
                break
        if inline and char == "`" and (span := _CODE.match(source, at)):
            at = span.end()
            continue
        if source.startswith(mark, at):
            if inline and source.startswith("$$", at):
                if depth == 0 and not re.compile(r"\$\$[^$\n]+\$(?!\$)").match(source, at):
                    break  # a display begins here, so the single dollar was text
                if depth:
                    at += 2
                    continue
            behind = re.match(r"\d\$\s*[\uac00-\ud7a3]", source[max(0, start - 2) : at])
            if inline and depth == 0 and (behind or _MONEY.match(source[start:at])):
                return None
            # "$5 and $10" is money, "3$\times$3" is not
            money = inline and source[at + 1 : at + 2].isdigit()
            money = money and (source[start].isdigit() or source[at - 1].isspace())
            if source[start:at].strip() and not money:
                if depth == 0:
                    return at
                first = at if first is None else first
            elif not money:
                return None  # nothing in between
            at += len(mark)
            continue
        depth = max(0, depth + (char == "{") - (char == "}"))
        at += 1
    return first


def _environment_end(source: str, name: str, at: int) -> int | None:
    depth = 1
    for step in re.compile(rf"\\(begin|end)\{{{re.escape(name)}\}}").finditer(source, at):
        depth += 1 if step[1] == "begin" else -1
        if depth == 0:
            return step.end()
    return None


def _unquote(source: str, at: int, tex: str) -> str:
    """Take the marks of the block quotes around it off the lines after the first."""
    line = source[source.rfind("\n", 0, at) + 1 : at]
    depth = re.match(r"(?:[ \t]*(?:>|[-*+]|\d+[.)]))*", line)[0].count(">")
    if depth:
        tex = re.sub(rf"\n(?:[ \t]*>){{1,{depth}}}", "\n", tex)
    return tex.strip()


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
    blog.tex.TexError: { that nothing closes in '\\\\frac{1}{2'
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
            raise TexError(f"& outside of an array or an alignment {where}")
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
