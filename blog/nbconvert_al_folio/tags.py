"""The HTML tags of a Markdown cell, as JupyterLab lets them through: they show, and run nothing."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import PostContext

_NAME = re.compile(r"<(/?)([A-Za-z][^\s/<>]*)")
# as browsers read them: a slash or nothing may stand between two attributes
_ATTRIBUTE = re.compile(r"""[\s/]*([^\s"'<>/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>=`]+))?""", re.S)
_END = re.compile(r"[\s/]*>")
_GONE = ("script", "style", "object", "embed", "base", "meta", "link", "applet")
_FILES = ("src", "poster")
_ADDRESSES = ("href", "xlink:href", "data", "background", "cite", "srcset")
_RUN = ("srcdoc", "action", "formaction")
# addresses with a scheme that a post may lead to; what runs a program is not among them
_SCHEMES = ("http", "https", "mailto", "tel", "ftp", "doi")


def is_safe(url: str) -> bool:
    """Whether an address with a scheme leads somewhere and runs nothing.

    >>> is_safe("https://a.b"), is_safe("notes.md#x"), is_safe("java\\nscript:alert(1)")
    (True, True, False)
    """
    scheme = re.match(r"([^/?#]*?):", re.sub(r"[\x00-\x20]", "", url))
    return scheme is None or scheme[1].lower() in _SCHEMES


def clean(text: str, context: PostContext) -> str:
    """Every tag in a piece of HTML without what could run; comments go, as nobody sees them."""
    out, at = [], 0
    while (start := text.find("<", at)) >= 0:
        out.append(text[at:start])
        if text.startswith("<!--", start):
            at = max(text.find("-->", start) + 3, start + 4)
            continue
        if text.startswith(("<!", "<?"), start):
            at = max(text.find(">", start) + 1, start + 2)
            continue
        written, at = _tag(text, start, context)
        out.append(written)
    return "".join(out) + text[at:]


def _tag(text: str, start: int, context: PostContext) -> tuple[str, int]:
    """The tag that begins here, cleaned, and where it ends; a `<` of its own where none does."""
    name = _NAME.match(text, start)
    if not name:
        return "&lt;", start + 1
    at, attributes = name.end(), []
    while attribute := _ATTRIBUTE.match(text, at):
        attributes.append(attribute)
        at = attribute.end()
    end = _END.match(text, at)
    if not end:
        return "&lt;", start + 1
    kind = name[2].lower()
    if kind in _GONE:
        if not name[1]:
            context.warn(f"a <{kind}> in a Markdown cell is left out, as in JupyterLab")
        return "", end.end()
    if name[1]:
        return text[start : end.end()], end.end()
    return name[0] + _attributes(kind, attributes, context) + end[0], end.end()


def _attributes(kind: str, attributes: list[re.Match], context: PostContext) -> str:
    given = {m[1].lower(): html.unescape((m[2] or "").strip("\"'")) for m in attributes}
    new: dict[str, str] = {}
    if kind == "img" and given.get("src"):
        new["alt"] = context.describe(given.get("alt", ""), given["src"])
        new["src"] = context.address(context.image(given["src"]))
    out = []
    for match in attributes:
        name = match[1].lower()
        value = given[name]
        if name.startswith("on") or name in _RUN:
            context.warn(f"{name}= in a Markdown cell is left out, as in JupyterLab")
            continue
        if name in new:
            value = new.pop(name)
        elif kind == "a" and name == "href":
            value = context.link(value)
        elif name in _FILES and value:
            value = _media(value, context)
        elif name in _ADDRESSES and not is_safe(value):
            value = ""
        same = value == given[name]
        out.append(match[0] if same else f' {match[1]}="{html.escape(value)}"')
    missing = "".join(f' {name}="{html.escape(value)}"' for name, value in new.items() if value)
    return missing + "".join(out)


def _media(url: str, context: PostContext) -> str:
    """The address of a video, a sound or a frame: of the web, or a file beside the notebook."""
    return url if re.match(r"https:|//|/|#", url) else context.address(context.image(url))
