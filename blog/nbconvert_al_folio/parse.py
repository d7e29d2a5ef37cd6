"""Parse a Markdown cell as Jupyter does; the notebook is one document with its notes and links.

The cell is parsed into a tree by markdown-it (CommonMark with tables, footnotes and
strike-through) after `scan` has taken the formulas out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.footnote import footnote_plugin

from .scan import FIRST, MARK, PROGRAM, Math, scan


def _is_cjk(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" or "\u1100" <= char <= "\u11ff"


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's `*` and `_`, with one amendment: a Korean, Chinese or Japanese letter next to
    the marks counts as punctuation does, so that `**변환(flow)**를` closes before its particle."""
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    start = end = state.pos
    while end < state.posMax and state.src[end] == marker:
        end += 1
    before = state.src[start - 1] if start else " "
    after = state.src[end] if end < state.posMax else " "

    def punct(char: str) -> bool:
        return isMdAsciiPunct(ord(char)) or isPunctChar(char)

    space_before, space_after = isWhiteSpace(ord(before)), isWhiteSpace(ord(after))
    opens = not space_after and (
        not punct(after) or space_before or punct(before) or _is_cjk(before)
    )
    closes = not space_before and (
        not punct(before) or space_after or punct(after) or _is_cjk(after)
    )
    if marker == "_":
        opens, closes = (
            opens and (not closes or punct(before)),
            closes and (not opens or punct(after)),
        )
    for _ in range(end - start):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(ord(marker), end - start, len(state.tokens) - 1, -1, opens, closes)
        )
    state.pos = end
    return True


@dataclass(frozen=True)
class Cell:
    """A parsed Markdown source: its tokens and the formulas in it; `key` tells cells apart."""

    tokens: list[Token]
    formulas: list[Math]
    key: str = ""
    notes: dict[str, str] = field(default_factory=dict)  # label: id of the note that it means
    definitions: dict[str, list[Token]] = field(default_factory=dict)  # id: what the note says
    dropped: int = 0  # scripts and style sheets

    def restore(self, text: str) -> str:
        """Put the formulas back as they were written: code and addresses hold no mathematics."""
        return MARK.sub(lambda m: self.formulas[ord(m[0]) - FIRST].source, text)

    def heads(self) -> Iterator[tuple[int, SyntaxTreeNode]]:
        """Level and node of each top-level heading."""
        for node in SyntaxTreeNode(self.tokens).children:
            if node.type == "heading":
                yield int(node.tag[1]), node

    def plain(self, node: SyntaxTreeNode, math: Callable[[str], str] = str) -> str:
        """The text of a node without its markup; formulas are given to `math`."""
        out = []
        for child in node.walk():
            if child.type in ("text", "code_inline"):
                text = self.restore(child.content) if child.type == "code_inline" else child.content
                out.append(MARK.sub(lambda m: math(self.formulas[ord(m[0]) - FIRST].tex), text))
            elif child.type in ("softbreak", "hardbreak"):
                out.append(" ")
        return "".join(out)


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.use(footnote_plugin).disable(["footnote_inline", "footnote_tail"])
    parser.inline.ruler.at("emphasis", _emphasis)
    return parser


@dataclass
class Shared:
    """What the cells of one notebook share: link definitions, and where each note is defined."""

    links: dict[str, dict] = field(default_factory=dict)
    own_links: dict[str, dict] = field(default_factory=dict)  # by the key of the cell
    notes: dict[str, list[str]] = field(default_factory=dict)  # label: keys of cells, in order
    order: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, sources: Iterable[tuple[str, str]]) -> Shared:
        """Read the definitions of all cells, given as (key, source)."""
        shared = cls()
        for key, source in sources:
            shared.order.append(key)
            if not re.search(r"(?m)^[ >]*\[[^\]\n]+\]:", source):
                continue
            env: dict = {}
            tokens = _parser().parse(source, env)
            shared.own_links[key] = env.get("references", {})
            shared.links = {**shared.own_links[key], **shared.links}
            for token in tokens:
                if token.type == "footnote_reference_open":
                    shared.notes.setdefault(token.meta["label"], []).append(key)
        return shared

    def note(self, label: str, key: str) -> str:
        """The note that a reference in cell `key` means: the cell's own, the next or the last."""
        cells = self.notes[label]
        here = self.order.index(key)
        return note_id(next((c for c in cells if self.order.index(c) >= here), cells[-1]), label)


def note_id(key: str, label: str) -> str:
    """A name for the note with this label in the cell with this key."""
    return re.sub(r"[^\w-]", "-", f"{key}-{label}".lstrip("-"))


def parse(source: str, key: str = "", shared: Shared | None = None) -> Cell:
    """Parse a Markdown source; raises TexError for mathematics left open.

    >>> [node.tag for _, node in parse("## A title\\n\\ntext $x$").heads()]
    ['h2']
    """
    shared = shared or Shared.of([(key, source)])
    text, formulas = scan(source)
    refs = {f":{label}": -1 for label in shared.notes}
    links = {**shared.links, **shared.own_links.get(key, {})}
    env = {"references": links, "footnotes": {"refs": refs, "list": {}}}
    parser = _parser()
    normalize = MarkdownIt.normalizeLink

    def restored(url: str) -> str:
        return normalize(parser, MARK.sub(lambda m: formulas[ord(m[0]) - FIRST].source, url))

    parser.normalizeLink = restored
    tokens, definitions = _without_notes(parser.parse(text, env), key)
    notes = {
        child.meta["label"]: shared.note(child.meta["label"], key)
        for token in [*tokens, *(t for d in definitions.values() for t in d)]
        for child in token.children or []
        if child.type == "footnote_ref"
    }
    dropped = len(PROGRAM.findall(source)) - len(PROGRAM.findall(text))
    return Cell(tokens, formulas, key, notes, definitions, dropped)


def _without_notes(tokens: list[Token], key: str) -> tuple[list[Token], dict[str, list[Token]]]:
    """The tokens of the text, and those of each note that is defined in it."""
    text: list[Token] = []
    notes: dict[str, list[Token]] = {}
    into = text
    for token in tokens:
        if token.type == "footnote_reference_open":
            into = notes.setdefault(note_id(key, token.meta["label"]), [])
        elif token.type == "footnote_reference_close":
            into = text
        else:
            into.append(token)
    return text, notes


def slug(text: str) -> str:
    """The id that kramdown's GFM parser gives to a heading of this text.

    >>> slug("2. What is a Flow?")
    '2-what-is-a-flow'
    """
    return re.sub(r"[^\w\- \t]", "", text.lower()).replace(" ", "-").replace("\t", "-")
