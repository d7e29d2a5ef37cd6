"""Find the mathematics in a Markdown cell, and tell it from money.

The scanner reads a cell from left to right, as JupyterLab does before any Markdown is parsed:
code is passed over, each formula is replaced by one private character, and what remains is
ordinary Markdown in which no `_`, `*`, `|` or newline of a formula can do harm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from markdown_it import MarkdownIt
from mdit_py_plugins.footnote import footnote_plugin

FIRST = 0xF0000  # one character of a private-use plane stands for one formula
MARK = re.compile("[\U000f0000-\U000ffffd]")
# of an inline formula: characters, and braces in braces; without a limit the search is quadratic
LONGEST, DEEPEST = 4000, 30


class TexError(ValueError):
    """TeX that MathJax 3 would not typeset as written."""


@dataclass(frozen=True)
class Math:
    """One formula: its TeX, whether it is displayed, and the text it was written as."""

    tex: str
    display: bool
    source: str


_CODE = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=ticks)(?!`)", re.S)
_ATTRIBUTE = r"""\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?"""
_TAG = re.compile(rf"</?[A-Za-z][A-Za-z0-9-]*(?:{_ATTRIBUTE})*\s*/?>", re.S)
_RAW = re.compile(r"<(script|style|pre|code|textarea)\b[^<>]*>", re.I)
PROGRAM = re.compile(r"</?(script|style)\b", re.I)
_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]+:[^\s<>]*>")
_BEGIN = re.compile(r"\\begin\{([A-Za-z]+\*?)\}")
_REFERENCE = re.compile(r"\\(?:eq)?ref\{[^{}\n]*\}")
_ROW = re.compile(r"\n[ \t]*\|")
_BLANK = re.compile(r"\n[ \t]*\n")


def scan(source: str, markdown: bool = True) -> tuple[str, list[Math]]:
    """Replace each formula of a Markdown source (or of plain text) by one private character.

    Found are `$..$` (not across a blank line, and not money: see `is_money`),
    `$$..$$`, `\\\\(..\\\\)`, `\\\\[..\\\\]`, a bare environment `\\begin{..}..\\end{..}` and a bare
    `\\ref` or `\\eqref`; `$` in code, in tags and after a backslash is text.
    A <script> or <style> of a Markdown cell goes, as in JupyterLab.
    Returns the text and the formulas in order; raises TexError for mathematics left open.

    >>> text, found = scan("the density $q(z)$ and `$HOME`")
    >>> found[0].tex, len(text)
    ('q(z)', 25)
    """
    out: list[str] = []
    found: list[Math] = []
    code = _code_blocks(source) if markdown else {}
    special = re.compile(r"[\\$`<]" if markdown else r"[\\$]")
    starts = sorted(code)
    at = 0
    while at < len(source):
        while starts and starts[0] < at:
            starts.pop(0)
        ordinary = special.search(source, at)
        stop = min([ordinary.start() if ordinary else len(source), *starts[:1]])
        if stop > at:
            out.append(source[at:stop])
            at = stop
            continue
        hit = None if at in code else _formula(source, at, code)
        if hit is None:
            stop = code.get(at) or _skip(source, at, markdown)
            if not (markdown and at not in code and PROGRAM.match(source, at)):
                out.append(source[at:stop])
        else:
            tex, display, stop = hit
            out.append(chr(FIRST + len(found)))
            found.append(Math(_unquote(source, at, tex), display, source[at:stop]))
        at = stop
    return "".join(out), found


@cache
def _blocks() -> MarkdownIt:
    parser = MarkdownIt("commonmark").use(footnote_plugin)
    return parser.disable(["inline", "footnote_tail"])


def _code_blocks(source: str) -> dict[int, int]:
    """Where each fenced or indented code block begins, and where it ends."""
    starts = [0, *(match.end() for match in re.finditer("\n", source)), len(source)]
    blocks = [t for t in _blocks().parse(source) if t.type in ("fence", "code_block")]
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
        return tag_end(source, at)
    return at + 1


@lru_cache(maxsize=2)
def _lower(source: str) -> str:
    return source.lower()


def tag_end(source: str, at: int) -> int:
    """End of the tag, comment or raw element that begins here; of the `<` if none does."""
    if source.startswith("<!--", at):
        return max(source.find("-->", at) + 3, at + 1)
    if raw := _RAW.match(source, at):
        end = _lower(source).find(f"</{raw[1].lower()}", raw.end())
        end = source.find(">", end) + 1 if end > 0 else 0
        if end > 0:
            return end
    tag = _TAG.match(source, at) or _AUTOLINK.match(source, at)
    return tag.end() if tag else at + 1


def _formula(source: str, at: int, code: dict[int, int]) -> tuple[str, bool, int] | None:
    """TeX, display flag and end of the formula that begins here, if one does."""
    if source.startswith("$$", at):
        end = _closing(source, at + 2, "$$", {})
        if end is None:
            raise TexError(f"$$ that nothing closes: {source[at : at + 40]!r}")
        return source[at + 2 : end], True, end + 2
    if source[at] == "$":
        end = _closing(source, at + 1, "$", code)
        if end is None or is_money(source[max(0, at - 1) : at], *_halves(source, at, end)):
            return None
        return source[at + 1 : end], False, end + 1
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


def _halves(source: str, at: int, end: int) -> tuple[str, str]:
    return source[at + 1 : end], source[end + 1 : end + 3]


_STEP = re.compile(r"[\\`\n{}$]")


def _closing(source: str, at: int, mark: str, code: dict[int, int]) -> int | None:
    """Where `$` or `$$` closes: outside braces if it can be, else at the first occasion."""
    inline = mark == "$"
    in_table = source[source.rfind("\n", 0, at) + 1 : at].lstrip().startswith("|")
    limit = min(len(source), at + LONGEST) if inline else len(source)
    limit = min([limit, *(start for start in code if start >= at)])
    first, depth, start = None, 0, at
    while step := _STEP.search(source, at, limit):
        at, char = step.start(), step[0]
        if char == "\\":
            at += 2
        elif char == "\n":
            row = in_table and _ROW.match(source, at)
            if inline and (row or _BLANK.match(source, at)):
                break
            at += 1
        elif char == "`":
            span = _CODE.match(source, at) if inline else None
            at = span.end() if span else at + 1
        elif char in "{}":
            depth = max(0, depth + (char == "{") - (char == "}"))
            if inline and depth > DEEPEST:
                break
            at += 1
        elif not source.startswith(mark, at):
            at += 1
        elif inline and depth and source.startswith("$$", at):
            at += 2
        elif (
            inline
            and source.startswith("$$", at)
            and not re.compile(r"\$\$[^$\n]+\$(?!\$)").match(source, at)
        ):
            break  # a display begins here, so the single dollar was text
        elif not source[start:at].strip():
            return None  # nothing in between
        elif depth == 0:
            return at
        else:
            first = at if first is None else first
            at += len(mark)
    return first


# --- money --------------------------------------------------------------------------------------

_AMOUNT = re.compile(r"\s?[-+~]?[.,]?\d")
_BEFORE_A_FORMULA = re.compile(r"""(?:[\s("“‘\[{|*~–—]|<[^<>]*>)$""")
_BEGINS_SOMETHING = re.compile(r"[A-Za-z0-9\\({\[|<.+-]", re.ASCII)
_WORD = re.compile(r"[A-Za-z]{2,}|[\uac00-\ud7a3\u3040-\u30ff\u4e00-\u9fff]")
_HANGUL_AFTER = re.compile(r"\s?[\d.,]*\d\s?[\uac00-\ud7a3]")
_AMOUNT_BEHIND = re.compile(r"[\s,~–\uac00-\ud7a3-].*\d\s?$", re.S)


def is_money(before: str, inside: str, after: str) -> bool:
    """Whether a dollar is text although another one follows, with `inside` between the two.

    Jupyter pairs dollars as they come, and so does this rule, with these exceptions, in which the
    second dollar begins something of its own (it stands after a space, an opening bracket, a quote,
    a table's border or a tag, and before a letter, a digit or TeX):

    1. a digit follows the first dollar: `$5 and $x$`, `$1M or ($n$)`, `| $5 | $x$ |`;
       also where a digit follows both, `$5-$10`, and where words in plain letters lead up to the
       second, `$5 a month and $ x $`, `$5와 $ x $`;
    2. between them are words and no TeX, or no letter at all: `$PATH and $x$`, `5$, $x$`;
    3. digits stand before both: `5$와 6$`, `5$ or 6$`.

    >>> is_money(" ", "5 and ", "x"), is_money(" ", "5 ", " "), is_money("5", "와 6", "")
    (True, False, True)
    """
    text = re.sub(r"<[^<>]*>", "", inside)
    plain = not re.search(r"[\\^_={}<>]", text)
    words = _WORD.search(text)
    begins = _BEFORE_A_FORMULA.search(inside) and _BEGINS_SOMETHING.match(after)
    if _AMOUNT.match(inside):
        both = after[:1].isdigit() and "\\" not in inside
        leads_up = plain and words and inside[-1].isspace()
        return bool(begins or both or leads_up or _HANGUL_AFTER.match(inside))
    if plain and begins and (words or not re.search(r"\w", text)):
        return True
    return plain and before.isdigit() and bool(_AMOUNT_BEHIND.match(inside))


# --- environments and quotes -----------------------------------------------------------------


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
