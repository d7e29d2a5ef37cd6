"""What the templates do to text: quote it for YAML, for Liquid and for the theme's includes."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from .markup import code, highlighted
from .post import Post
from .site import CALL, call_number
from .words import WORDS


def front_matter(meta: dict[str, Any]) -> str:
    """Front matter, one key a line; each value is JSON, which every YAML parser reads alike.

    >>> front_matter({"title": "a <b>", "x: y": 1})
    'title: "a &lt;b>"\\n"x: y": 1'
    """
    lines = []
    for key, value in meta.items():
        key = key if re.fullmatch(r"[A-Za-z_][\w-]*", key, re.ASCII) else _json(key)
        lines.append(f"{key}: {_json(_no_tags(value))}")
    return "\n".join(lines)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # YAML would end the line at these
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda m: f"\\u{ord(m[0]):04x}", text)


def _no_tags(value: Any) -> Any:
    """The theme prints titles, tags and authors as HTML."""
    if isinstance(value, str):
        return value.replace("<", "&lt;")
    if isinstance(value, dict):
        return {key: _no_tags(item) for key, item in value.items()}
    return [_no_tags(item) for item in value] if isinstance(value, (list, tuple)) else value


def liquid(text: str, post: Post) -> str:
    """Protect `{{` and `{%` from Liquid, then put in the calls that are meant for it.

    >>> liquid("{{ a }} and {% raw %}", Post(None))
    '{{ "{" }}{ a }} and {{ "{" }}% raw %}'
    """
    text = re.sub(r"\{(?=[{%])", '{{ "{" }}', text)
    return CALL.sub(lambda m: post.calls[call_number(m[0])], text)


def attribute(text: str) -> str:
    """Plain text as the value of an attribute in an include."""
    return _quotable(html.escape(" ".join(text.split())))


def caption(text: str) -> str:
    """HTML as the value of an attribute in an include."""
    pieces = re.split(r"(<[^>]*>)", " ".join(text.split()))
    return _quotable(
        "".join(p.replace('"', "'" if p.startswith("<") else "&quot;") for p in pieces)
    )


def _quotable(text: str) -> str:
    # Jekyll's include looks for {{ in its arguments, and %} would end the tag
    return re.sub(r"\{(?=[{%])", "&#123;", text).replace("%}", "&#37;}")


FILTERS = {
    "attribute": attribute,
    "caption": caption,
    "fence": code,
    "front_matter": front_matter,
    "highlighted": highlighted,
    "liquid": liquid,
    "read_in": lambda lang: WORDS[lang]["read"] if lang in WORDS else lang,
}
