"""Documents that mix everything, through the exporter, Liquid and kramdown and back.

Each document is built twice: once with its formulas, and once with a word in the place of each.
The first goes through the exporter and kramdown; the second is read by a CommonMark parser that
knows no formulas.  The two must agree on structure and text, and the formulas must come out in
order, each displayed or inline as it was written.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nbconvert_al_folio import markup
from nbconvert_al_folio.context import Figure, PostContext
from nbconvert_al_folio.filters import liquid
from nbconvert_al_folio.kramdown import Kramdown
from nbconvert_al_folio.parse import parse
from nbconvert_al_folio.post import Post
from nbconvert_al_folio.scan import TexError
from tests.blog import browser

WORD = "Xformula"
SETTINGS = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def jekyll():
    """A function that gives Jekyll's Liquid and kramdown one text and returns the HTML."""
    browser.need("jekyll")
    script = Path(__file__).with_name("kramdown.rb")
    with subprocess.Popen(
        ["ruby", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as ruby:

        def convert(text: str) -> str:
            ruby.stdin.write(json.dumps(text) + "\n")
            ruby.stdin.flush()
            return json.loads(ruby.stdout.readline())

        yield convert
        ruby.stdin.close()


def write(source: str) -> str:
    """The body of a post for one Markdown cell."""
    context = PostContext(link=str, image=str, describe=lambda alt, source: alt)
    blocks = Kramdown(parse(source), context).blocks()
    assert not any(isinstance(block, Figure) for block in blocks)
    return "\n\n".join(liquid(block, Post(None)) for block in blocks)


class Outline(HTMLParser):
    """Tags and text of a page without what does not matter: paragraphs, spaces, typography."""

    LOOSE = frozenset("p span div thead tbody br".split())

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag == "input":  # a box to tick, which CommonMark leaves as text
            self.parts.append("[x]" if ("checked", "checked") in attributes else "[]")
        else:
            self.parts.append("" if tag in self.LOOSE else f"<{tag}>")

    def handle_endtag(self, tag):
        self.parts.append("" if tag in {*self.LOOSE, "input"} else f"</{tag}>")

    def handle_data(self, data):
        self.parts.append(data)

    def __str__(self) -> str:
        text = "".join(self.parts).translate(
            {0x2026: "...", 0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
        )
        return re.sub(r"<h\d></h\d>|\s+", "", text)


def mathjax(page: str) -> tuple[list[tuple[str, str]], str]:
    """The formulas that MathJax would find in a page, and the page with a word for each."""
    found = []

    def take(match: re.Match) -> str:
        found.append(("i" if match[1] else "d", html.unescape(match[1] or match[2])))
        return WORD

    pieces = re.split(r"(<code.*?</code>|<[^>]*>)", page, flags=re.S)
    for index in range(0, len(pieces), 2):
        text = re.sub(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", take, pieces[index], flags=re.S)
        pieces[index] = text.replace(r"\$", "$")
    return found, "".join(pieces)


def plain(tex: str) -> str:
    tex = re.sub(r"\\vert(?![A-Za-z]) ?", "|", re.sub(r"\\Vert(?![A-Za-z]) ?", r"\\|", tex))
    return re.sub(r"\s+", "", tex)


# --- documents: (source, the same with a word for each formula, the formulas) -------------------

INLINE = [
    *("x", "q(z)", "-1", "=2", "[a]", r"\|x\|", "||x||", "a|b", "f^*(x)", "a_1*b_2*c", "x<y"),
    *("x > y", "a & b", r"\{a\}", "{{a}}", r"\{%\}", r"\text{a|b}", "f'(x)", r"\alpha_i", r"5\%"),
    *(r"\,x", r"\left| x\right|", r"\text{if $x$}", "a\n+ b", r"\$"),
    r"\begin{array}{c|c} a & b\end{array}",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
]
DISPLAY = [
    *INLINE[:22],
    *("L\n= a\n- b\n+ c", "a\n\n+ b", "---\nx", "= x", "x \\\\\n> y", "1. x\n2. y", "> a", "| a |"),
    "\\begin{aligned} a &= b \\\\\n &= c \\end{aligned}",
]
WORDS = [
    *("밀도", "flow", "를", "a_b", "snake_case_x", "변환(flow)", "x", "e.g.", "2.5", "5%", "it's"),
    *(
        '"q"',
        "1.",
        "2)",
        "-",
        "+",
        "*",
        "#",
        ">",
        ":",
        "=",
        "==",
        "---",
        "^",
        "~",
        "~~",
        "...",
        "--",
    ),
    *(
        "+1",
        "a|b",
        "|",
        "||",
        "<",
        "x<y",
        ">>",
        "<<",
        "<3",
        "AT&T",
        "&amp;",
        "&lt;",
        "&nbsp;",
        "1.x",
    ),
    *(
        "[x]",
        "(y)",
        "[a](b",
        "[^1]",
        "*[A]:",
        "!",
        "{",
        "}",
        "{#id}",
        "{: .c}",
        "{::comment}",
        "{:/}",
    ),
    *(
        "{{",
        "{%",
        "{% raw %}",
        "{% endraw %}",
        "{{ x }}",
        "%}",
        "}}",
        "__",
        "**",
        "***",
        "_x",
        "x_",
    ),
    *(r"\*", r"\_", r"\#", r"\|", r"\$5", "###", "#tag", "a*b", "*a", "a*", "@"),
]
CODE = ["`$HOME`", "`a|b`", "`` a`b ``", "`$$x$$`", "`{% raw %}`", "`{{ x }}`", "`_a_`", "`<b>`"]
BLOCKS = [
    '```python\nx = "$a$"\n\n# {% raw %} {{ y }} {% endraw %}\n```',
    "~~~\n$$\n~~~",
    "````\n```\n$x\n```\n````",
    "    indented | $x",
]


@st.composite
def spans(draw, deep=False, lines=True, display=True):
    """Words, formulas, code, emphasis and links on one or several lines."""
    source, words, formulas = [], [], []
    kinds = ["word"] * 3 + ["odd"] + ["math"] * 2 + ["code"]
    if not deep:
        kinds += ["strong", "em", "link", "br", "bold", "u", "font"] + ["display"] * display
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(kinds))
        if kind == "word":
            pair = (draw(st.sampled_from(WORDS[:8])),) * 2
        elif kind == "odd":
            pair = (draw(st.sampled_from(WORDS)),) * 2
        elif kind == "code":
            pair = (draw(st.sampled_from(CODE)),) * 2
        elif kind == "br":
            pair = ("a<br>b", "a<br>b")
        elif kind == "math":
            tex = draw(st.sampled_from([t for t in INLINE if lines or "\n" not in t]))
            pair = (f"${tex}$", WORD)
            formulas.append(("i", tex))
        elif kind == "display":
            tex = draw(st.sampled_from(DISPLAY[:20]))
            pair = (f"$${tex}$$", WORD)
            formulas.append(("d", tex))
        else:
            inner, inner_words, inner_formulas = draw(spans(deep=True, lines=lines))
            shape = {"strong": "**%s**", "em": "*%s*", "bold": "c<b>a %s</b>"}
            shape |= {"u": "c<u>a %s</u>", "font": 'c<font color="red">a %s</font>'}
            shape = shape.get(kind, "[%s](http://a.b/c_d?x=1&y=(2))")
            pair = (shape.replace("%s", inner), shape.replace("%s", inner_words))
            formulas += inner_formulas
        between = draw(st.sampled_from([" ", "  ", "\n"])) if lines and not deep else " "
        source.append(pair[0] + between)
        words.append(pair[1] + between)
    return "".join(source).strip(), "".join(words).strip(), formulas


def indent(text: str, rest: str, first: str | None = None) -> str:
    lines = text.split("\n")
    first = rest if first is None else first
    return "\n".join(
        (rest if i else first) + line if line or rest.strip() else line
        for i, line in enumerate(lines)
    )


@st.composite
def blocks(draw, depth=0):
    """Paragraphs, formulas, lists, quotes, headings, code, rules and tables, one in the other."""
    kinds = ["text"] * 3 + ["display", "environment", "heading", "code", "table", "rule"]
    kind = draw(st.sampled_from(kinds + ["- ", "1. ", "> "] * (depth < 3)))
    if kind == "text":
        return draw(spans())
    if kind == "display":
        tex = draw(st.sampled_from(DISPLAY))
        return f"$$\n{tex}\n$$", WORD, [("d", tex)]
    if kind == "environment":
        tex = "\\begin{align}\na &= b|c \\\\\nd &= e_1\n\\end{align}"
        return tex, WORD, [("d", tex)]
    if kind == "heading":
        source, words, formulas = draw(spans(lines=False, display=False))
        mark = "#" * draw(st.integers(2, 4)) + " "
        return mark + source, mark + words, formulas
    if kind == "code":
        return (*[draw(st.sampled_from(BLOCKS))] * 2, [])
    if kind == "rule":
        return "***", "***", []
    if kind == "> ":
        source, words, formulas = draw(blocks(depth=depth + 1))
        return indent(source, "> "), indent(words, "> "), formulas
    if kind == "table":
        cells = st.sampled_from(
            ["밀도", "`x`", "a", "-", "=", "**b**", "", "\\|", "{{ x }}", "&lt;"]
        )
        rows, formulas = [], []
        for row in range(draw(st.integers(2, 4))):
            tex = draw(st.sampled_from([t for t in INLINE if "\n" not in t]))
            left, right = draw(cells), draw(cells)
            rows.append((f"| {left} | ${tex}$ {right} |", f"| {left} | {WORD} {right} |"))
            formulas.append(("i", tex))
            if row == 0:
                rows.append(("|:--|---|", "|:--|---|"))
        return "\n".join(r[0] for r in rows), "\n".join(r[1] for r in rows), formulas
    items, formulas = [], []
    for _ in range(draw(st.integers(1, 3))):
        source, words, found = draw(spans(lines=False))
        if draw(st.booleans()):
            more, more_words, more_found = draw(blocks(depth=depth + 1))
            source, words = f"{source}\n\n{more}", f"{words}\n\n{more_words}"
            found = found + more_found
        blank = " " * len(kind)
        items.append((indent(source, blank, kind), indent(words, blank, kind)))
        formulas += found
    between = draw(st.sampled_from(["\n", "\n\n"]))
    return between.join(i[0] for i in items), between.join(i[1] for i in items), formulas


documents = st.lists(blocks(), min_size=1, max_size=4).map(
    lambda parts: (
        "\n\n".join(part[0] for part in parts),
        "\n\n".join(part[1] for part in parts),
        [formula for part in parts for formula in part[2]],
    )
)


def as_written(formulas) -> list[tuple[str, str]]:
    """Formulas to compare; where a block has no room, display style stands for a display."""
    return [
        ("d", plain(tex).replace(r"\displaystyle", ""))
        if r"\displaystyle" in tex
        else (k, plain(tex))
        for k, tex in formulas
    ]


def some_documents(count: int) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """A fixed choice of documents whose formulas MathJax can typeset, for the browser."""
    chosen = []

    @settings(SETTINGS, max_examples=count, derandomize=True, database=None)
    @given(document=documents)
    def choose(document):
        if all(tex != "a & b" for _, tex in document[2]):
            chosen.append(document)

    choose()
    return chosen


@pytest.mark.slow
@SETTINGS
@given(document=documents)
def test_formulas_and_structure_survive(jekyll, document):
    source, words, formulas = document
    found, page = mathjax(jekyll(write(source)))
    assert as_written(found) == as_written(formulas)
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    reference = parser.render(words)
    for was, is_ in (("s>", "del>"), ("<h1>", "<h2>"), ("</h1>", "</h2>")):
        reference = re.sub(rf"(?<=[</]){was}" if was == "s>" else was, is_, reference)
    assert str(Outline(page)) == str(Outline(reference))


@SETTINGS
@given(text=st.text(st.sampled_from("ab 가\n`$\\*_{}[]()#+-.!|<>&%:=~^\"'1"), max_size=40))
def test_any_text_is_either_refused_or_converted(jekyll, text):
    """No input makes kramdown fail, and none lets Liquid see anything of it."""
    try:
        body = write(text)
    except TexError:
        return
    assert isinstance(jekyll(body), str)


@SETTINGS
@given(
    text=st.text(st.sampled_from("{}% \"'-|arwendx\n`~"), max_size=60).filter(
        lambda t: "\n" not in t or "\n\n" not in t
    )
)
def test_code_passes_liquid_untouched(jekyll, text):
    """Code of any content comes out as it went in, whatever Liquid might take it for."""
    body = liquid(markup.code("x" + text, "text"), Post(None))
    page = jekyll(body)
    code = re.search(r"(?s)<pre><code[^>]*>(.*)</code></pre>", page)[1]
    assert html.unescape(code).rstrip() == ("x" + text).rstrip()
