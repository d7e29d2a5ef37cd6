"""An HTML output in a post: its pictures as files, its style kept to itself, its formulas found."""

from __future__ import annotations

import re
from collections.abc import Callable

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Stylesheet, Tag
from bs4.formatter import EntitySubstitution, HTMLFormatter

from . import tex
from .context import PostContext
from .problems import Stop
from .scan import FIRST, MARK, TexError, scan
from .tags import is_safe

# what the theme's Content-Security-Policy blocks in a program, or what only Jupyter provides
BLOCKED = {
    r"\bblob:": "a blob: address",
    r"\beval\s*\(|new\s+Function\s*\(": "eval",
    r"\brequirejs\b|\brequire\s*\(\s*\[|\bJupyter\.": "a script that needs Jupyter",
}
REMEDY = "tag the cell remove-output, show a picture instead, or leave it out with --lenient"
_NO_MATH = ("script", "style", "pre", "code", "textarea")
_SEEN = "img svg video audio canvas iframe input button select table hr script div[id]"
_LOADS = re.compile(
    r"define\('plotly'|require\.undef\([\"']plotly|window\.PlotlyConfig|_bokeh_is_loading|HoloViews"
)
# style sheets from elsewhere would restyle the whole page; Colab's buttons work in Colab alone, and
# MathJax 3 has no Hub
_LEFT_OUT = "link, base, meta, .colab-df-convert, .colab-df-quickchart, .colab-df-buttons"
_MANY = 500  # tags that nothing closes; more are no HTML, and would take a parser minutes


class _AsWritten(HTMLFormatter):
    """Attributes stay in their order, void tags without a slash."""

    def attributes(self, tag: Tag):
        return tag.attrs.items()


_FORMATTER = _AsWritten(
    entity_substitution=EntitySubstitution.substitute_xml,
    void_element_close_prefix=None,
    empty_attributes_are_booleans=True,
)


class HtmlOutput:
    """Writes one HTML output; `name` is its id on the page."""

    def __init__(self, context: PostContext, name: str, describe: Callable[[str], str]) -> None:
        self.context, self.name, self.describe = context, name, describe

    def write(self, text: str, drawn: bool = False) -> str:
        """The output in a <div> of its own; "" where there is nothing to see.

        Where its figures have been `drawn` from their data, its scripts go.
        """
        try:
            soup = BeautifulSoup(_closed(text), "html.parser")
            for tag in soup.select(_LEFT_OUT):
                tag.decompose()
            for script in soup.find_all("script"):
                if drawn or re.search(r"google\.colab|MathJax\.Hub", script.get_text()):
                    script.decompose()
            if (drawn or self._only_loads(soup)) and self._is_empty(soup):
                return ""
            self._check(soup)
            for style in soup.find_all("style"):
                self._keep_inside(style)
            for tag in soup.find_all(True):
                self._lead(tag)
            for string in soup.find_all(string=True):
                if type(string) is NavigableString and string.parent.name not in _NO_MATH:
                    self._typeset(string)
            if not soup.get_text().strip() and not soup.select(_SEEN.replace(" ", ",")):
                return ""
            written = soup.decode(formatter=_FORMATTER).strip()
        except RecursionError as error:
            raise Stop("an HTML output with tags too deep in each other", REMEDY) from error
        return f'<div class="output-html" id="{self.name}">\n{written}\n</div>'

    def _only_loads(self, soup: BeautifulSoup) -> bool:
        """Whether its scripts load a library for the notebook."""
        programs = "\n".join(script.get_text() for script in soup.find_all("script"))
        return bool(_LOADS.search(programs))

    def _is_empty(self, soup: BeautifulSoup) -> bool:
        text = soup.get_text().replace("Loading BokehJS ...", "").strip()
        return not text and not soup.select("img, svg, table")

    def _check(self, soup: BeautifulSoup) -> None:
        if soup.find(["object", "embed"]):
            raise Stop("an HTML output with an <object> or <embed>, which the theme blocks", REMEDY)
        handlers = [v for t in soup.find_all(True) for k, v in t.attrs.items() if k[:2] == "on"]
        addresses = [t["src"] for t in soup.find_all(src=True) if t.name != "img"]
        for script in soup.find_all(["script", "iframe"]):
            if str(script.get("src", "")).lower().startswith("data:"):
                raise Stop(
                    "an HTML output with a data: script or frame, which the theme blocks", REMEDY
                )
        programs = "\n".join(
            [*(s.get_text() for s in soup.find_all("script")), *handlers, *addresses]
        )
        for pattern, what in BLOCKED.items():
            if re.search(pattern, programs, re.I):
                raise Stop(
                    f"an HTML output with {what}, which the theme's pages do not run", REMEDY
                )

    def _keep_inside(self, style: Tag) -> None:
        """Let a style sheet reach this output alone."""
        css = style.get_text()
        bare = re.sub(r"/\*.*?\*/|\"[^\"\n]*\"|'[^'\n]*'", "", css, flags=re.S)
        depth = 0
        for brace in re.findall(r"[{}]", bare):
            depth += 1 if brace == "{" else -1
            if depth < 0:
                break
        if depth:
            self.context.warn("a style sheet with unbalanced braces is left out")
            style.decompose()
            return
        css = re.sub(r"@import[^;]*;", "", css)
        css = re.sub(r"(?<=url\()([\"']?)http:", r"\1https:", css)
        style.string = Stylesheet(f"@scope (#{self.name}) {{\n{css.strip()}\n}}")

    def _lead(self, tag: Tag) -> None:
        """Pictures and other media become files, or are asked for by https; links lead on."""
        src = str(tag.get("src") or "")
        if tag.name == "img":
            tag["alt"] = self.describe(str(tag.get("alt") or ""))
            path = self.context.image(src)
            if not path:
                tag.replace_with(NavigableString(tag["alt"]))
                return
            tag["src"] = self.context.address(path)
            tag.attrs = {"alt": tag["alt"], **tag.attrs}
        elif src.startswith("http:"):
            self.context.warn(f"{src[:60]} is asked for by https: the theme's pages load no other")
            tag["src"] = "https:" + src[5:]
        elif src and not re.match(r"https:|//|/|#", src):
            tag["src"] = self.context.address(self.context.image(src))
        href = str(tag.get("href") or "")
        if tag.name == "a" and href and not href.startswith("#"):
            url = self.context.link(href)
            if url:
                tag["href"] = url
            else:
                del tag["href"]
        elif href and not is_safe(href):
            del tag["href"]

    def _typeset(self, string: NavigableString) -> None:
        r"""Formulas, as Jupyter finds them, in the form \(..\) that every MathJax reads."""
        text = str(string)
        if "$" not in text and "\\begin" not in text:
            return
        try:
            text, formulas = scan(text, markdown=False)
        except TexError as error:
            self.context.bad_tex(f"an HTML output: {error}")
            formulas = []

        def written(match: re.Match) -> str:
            formula = formulas[ord(match[0]) - FIRST]
            said = self.context.tex(formula)
            try:
                tex.check(said, self.context.defined)
            except TexError as error:
                self.context.bad_tex(f"an HTML output: {error}")
            return rf"\[{said}\]" if formula.display else rf"\({tex.one_line(said)}\)"

        text = re.sub(r"(?<!\\)\$", r"\\$", text)
        string.replace_with(NavigableString(MARK.sub(written, text)))


def _closed(text: str) -> str:
    """HTML whose comments and tags end; what nothing closes is text.

    Python's parser looks for the end of each anew, which takes minutes where there are thousands.
    """
    end = text.rfind(">") + 1
    text = text[:end] + text[end:].replace("<", "&lt;")
    end = text.rfind("-->") + 1
    text = text[:end] + text[end:].replace("<!--", "&lt;!--")
    script = re.search(r"<(?:script|style)\b", text, re.I)
    plain = text if script is None else text[: script.start()]
    if len(re.findall(r"<[A-Za-z/!?](?=[^<>]*<)", plain)) > _MANY:
        raise Stop("an HTML output with many tags that nothing closes", REMEDY)
    return text
