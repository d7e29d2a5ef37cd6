"""Write several notebooks as one series of posts: all of them, or none."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .exporter import AlFolioExporter
from .files import write_all
from .post import Head
from .problems import Problem, Problems, Refused


def publish(notebooks: Iterable[str | Path], out: str | Path, **options) -> list[Path]:
    """Export notebooks as posts into the site folder `out`.

    Notebooks of one call link to each other as posts, and those of one name in several languages
    as twins.  `options` are the exporter's: date, repository, missing_alt and so on.
    Nothing is written until every notebook has been converted, and each file replaces its
    predecessor in one step, pictures before posts.  Returns the pages written, in order.
    Raises Refused, which lists all that is wrong, by notebook and cell; OSError if a file cannot
    be written.
    """
    out = Path(out)
    if "figure_include" not in options:
        old = out / "_includes" / "figure.html"  # the theme of 2022-23
        if old.exists() and not old.with_suffix(".liquid").exists():
            options["figure_include"] = old.name
    exporter = AlFolioExporter(**options)
    problems: list[Problem] = []
    nodes: dict[Path, NotebookNode] = {}
    for path in (Path(notebook).resolve() for notebook in notebooks):
        try:
            nodes[path] = read(path)
        except Refused as refused:
            problems += refused.problems
    heads = {
        path: Head.of(node, path, exporter, Problems(exporter)) for path, node in nodes.items()
    }
    problems += list(_same_slugs(heads, out))
    exporter.posts = {str(path): head.name for path, head in heads.items()}
    exporter.twins = {
        str(path): {
            other.lang: other.name
            for other in heads.values()
            if other.stem == head.stem and other.lang != head.lang
        }
        for path, head in heads.items()
    }
    files: dict[Path, bytes] = {}
    pages: dict[Path, bytes] = {}
    for path, node in nodes.items():
        try:
            text, resources = exporter.from_notebook_node(
                node, {"metadata": {"name": path.stem, "path": str(path.parent)}}
            )
        except Refused as refused:
            problems += refused.problems
            continue
        pages[out / (resources["unique_key"] + exporter.file_extension)] = text.encode()
        files.update({out / name: data for name, data in resources["outputs"].items()})
    if problems:
        raise Refused(problems)
    write_all(files, pages)
    return list(pages)


def read(path: Path) -> NotebookNode:
    """The notebook in this file; raises Refused where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat's own about cells without an id
            node = nbformat.read(path, as_version=4)
        if isinstance(node.metadata, dict) and all(c.source is not None for c in node.cells):
            return node
        why = "its cells or its metadata are missing"
    except OSError as error:
        why = error.strerror or str(error)
    except json.JSONDecodeError as error:
        why = str(error)
    except Exception as error:  # nbformat raises many kinds for what is no notebook
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    raise Refused([Problem(path.name, f"a Jupyter notebook is expected: {why}")])


def _same_slugs(heads: dict[Path, Head], out: Path) -> Iterable[Problem]:
    for slug, count in Counter(head.slug for head in heads.values()).items():
        if count > 1:
            names = ", ".join(path.name for path, head in heads.items() if head.slug == slug)
            yield Problem(names, f"two posts with the slug {slug!r}", "give one a slug of its own")
    for path, head in heads.items():
        for other in out.glob(f"_posts/*-{head.slug}.md"):
            if other.stem[11:] == head.slug and other.stem != head.name:
                yield Problem(path.name, f"{other} has the slug {head.slug!r} already")
