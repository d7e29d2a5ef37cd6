"""A post before it is printed: its head, its blocks in order, its files."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from .context import Figure
from .problems import Problems

# keys that would move the page, switch Liquid's protection off or put CSS of their own on it
_NOT_FROM_A_NOTEBOOK = ("layout", "permalink", "published", "render_with_liquid", "_styles")


@dataclass
class Block:
    """One piece of the page; the template gives each kind its form."""

    kind: str  # markdown, html, code, text, figure, live, fold
    text: str = ""
    language: str = ""
    classes: str = ""
    figure: Figure | None = None
    blocks: list[Block] = field(default_factory=list)  # what a fold holds; `text` is its summary


@dataclass
class Head:
    """What the notebook's metadata and the options say of the post, before any cell is read."""

    stem: str
    slug: str
    lang: str
    date: str
    repository: str
    ref: str
    links: dict[str, str]
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """The file name without its ending, as Jekyll wants it: YYYY-MM-DD-slug."""
        return f"{self.date[:10]}-{self.slug}"

    @classmethod
    def of(cls, notebook: NotebookNode, path: Path, options: Any, problems: Problems) -> Head:
        """Read the head; `options` has the exporter's traits date, title, repository and ref."""
        given = notebook.metadata.get("post", {})
        if not isinstance(given, dict):
            problems.error(
                f"the metadata's post is {given!r}", 'write "post": {"title": ..., "date": ...}'
            )
            given = {}
        meta = copy.deepcopy(dict(given))
        lang = str(meta.pop("lang", "en"))
        if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", lang):
            problems.error(f"a language such as en or ko is expected, got {lang!r}")
            lang = "en"
        slug = str(meta.pop("slug", default_slug(path.stem, lang)))
        if not re.fullmatch(r"[\w-]+", slug):
            problems.error(f"a slug of letters, digits and hyphens is expected, got {slug!r}")
            slug = default_slug(slug, "en") or "post"
        if options.title:
            meta["title"] = options.title
        for key in [k for k in meta if k in _NOT_FROM_A_NOTEBOOK or k.startswith("redirect")]:
            problems.warn(f"the key {key!r} of the metadata's post is left out")
            del meta[key]
        return cls(
            path.stem,
            slug,
            lang,
            _date(options.date or str(meta.pop("date", "") or ""), problems),
            _address(options.repository or str(meta.pop("repository", "")), problems),
            _ref(options.ref or str(meta.pop("ref", "HEAD")), problems),
            _links(meta.pop("links", {}), problems),
            {k: v for k, v in meta.items() if k not in ("date", "repository", "ref")},
        )


@dataclass
class Post:
    """A page ready to be printed: front matter, blocks and files (path in the site: bytes)."""

    head: Head
    meta: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    twins: list[tuple[str, str]] = field(default_factory=list)
    notebook_url: str = ""
    source_url: str = ""
    colab_url: str = ""
    notes: str = ""  # HTML of the footnotes
    footer: list[str] = field(default_factory=list)  # HTML that renderers want once a page
    calls: list[str] = field(default_factory=list)


def default_slug(stem: str, lang: str) -> str:
    """The end of a post's address: the notebook's name, less its number, plus its language.

    >>> default_slug("02_change_of_variables", "ko")
    'change-of-variables-ko'
    """
    base = re.sub(r"[^\w]+", "-", re.sub(r"^\d+[_-]", "", stem).replace("_", "-").lower())
    return base.strip("-") + ("" if lang == "en" else f"-{lang}")


def _date(text: str, problems: Problems) -> str:
    text = date.today().isoformat() if text == "today" else text
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})( \d{2}:\d{2}(:\d{2})?( [+-]\d{4})?)?", text)
    try:
        if match and date.fromisoformat(match[1]):
            return text
    except ValueError:
        pass
    got = f"got {text!r}" if text else "there is none"
    problems.error(
        f"a date YYYY-MM-DD is expected, {got}",
        'give --date today, or "post": {"date": ...} in the notebook\'s metadata',
    )
    return "1970-01-01"


def _address(text: str, problems: Problems) -> str:
    text = text.rstrip("/")
    if text and not re.fullmatch(r"https?://[\w.~:/@%+-]+", text, re.ASCII):
        problems.error(f"a repository https://... is expected, got {text!r}")
        return ""
    return text


def _ref(text: str, problems: Problems) -> str:
    if not re.fullmatch(r"[\w./-]+", text, re.ASCII):
        problems.error(f"a tag or branch is expected as ref, got {text!r}")
        return "HEAD"
    return text


def _links(given: Any, problems: Problems) -> dict[str, str]:
    if not isinstance(given, dict):
        problems.error(f"the metadata's links: notebook: post is expected, got {given!r}")
        return {}
    good = {}
    for name, post in given.items():
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}-[\w-]+", str(post)):
            good[name] = post
        else:
            problems.error(f"a post YYYY-MM-DD-slug is expected in links, got {post!r}")
    return good
