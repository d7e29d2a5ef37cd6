"""Write several notebooks as one series of posts: all of them, or none."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat

from .exporter import AlFolioExporter, PageExporter, Reader, Refused


def publish(
    notebooks: Iterable[str | Path], out: str | Path, *, html: bool = False, **options
) -> list[Path]:
    """Export notebooks as posts into the site folder `out`, or with `html` as pages into `out`.

    Notebooks of one call link to each other as posts, and those of one name in several languages
    as twins.  `options` are the exporter's: date, repository, ref, allow_errors, figure_include.
    Nothing is written until every notebook has been converted, and each file replaces its
    predecessor in one step, pictures before posts.  Returns the pages written, in order.
    Raises Refused, which names the notebook and the cell; OSError if a file cannot be written.
    """
    out = Path(out)
    paths = [Path(notebook).resolve() for notebook in notebooks]
    if not html and "figure_include" not in options:
        old = out / "_includes" / "figure.html"  # the theme of 2022-23
        if old.exists() and not old.with_suffix(".liquid").exists():
            options["figure_include"] = old.name
    exporter = (PageExporter if html else AlFolioExporter)(**options)
    nodes = [nbformat.read(path, as_version=4) for path in paths]
    heads = [Reader(node, path, exporter).head() for node, path in zip(nodes, paths, strict=True)]
    for slug, count in Counter(head.slug for head in heads).items():
        if count > 1:
            names = ", ".join(
                str(p.name) for p, h in zip(paths, heads, strict=True) if h.slug == slug
            )
            raise Refused(f"{names}: two posts with the slug {slug!r}; give one a slug of its own")
    for path, head in zip(paths, heads, strict=True):
        for other in [] if html else out.glob(f"_posts/*-{head.slug}.md"):
            if other.stem[11:] == head.slug and other.stem != head.name:
                raise Refused(f"{path.name}: {other} has the slug {head.slug!r} already")
    exporter.posts = {str(path): head.name for path, head in zip(paths, heads, strict=True)}
    exporter.twins = {
        str(path): {
            other.lang: other.name
            for other in heads
            if other.stem == head.stem and other.lang != head.lang
        }
        for path, head in zip(paths, heads, strict=True)
    }
    files: dict[Path, bytes] = {}
    pages: dict[Path, bytes] = {}
    for node, path in zip(nodes, paths, strict=True):
        text, resources = exporter.from_notebook_node(
            node, {"metadata": {"name": path.stem, "path": str(path.parent)}}
        )
        page = out / (resources["unique_key"] + exporter.file_extension)
        pages[page] = text.encode()
        files.update({out / name: data for name, data in resources["outputs"].items()})
    for path, data in {**{f: d for f, d in files.items() if f not in pages}, **pages}.items():
        _replace(path, data)
    for folder in {path.parent for path in files if path not in pages}:
        for path in folder.iterdir():  # pictures of an earlier edition, which nothing shows now
            if path not in files and re.fullmatch(r"[0-9a-f]{16}\.\w+", path.name):
                path.unlink()
    return list(pages)


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")  # Jekyll passes over names with a dot in front
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
