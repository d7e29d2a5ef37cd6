"""Pair, run and check the notebooks: python -m tools.notebooks {sync,run,check}

notebooks/NN_topic.md is the source. Its two companions are generated from it and never edited:
NN_topic.py (the same cells as a script) and NN_topic.ipynb (the same cells, executed).
"""

import argparse
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools import house, pages

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
PAGES = ROOT / "build" / "pages"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_SECONDS = 120
SIZE_LIMIT = 3_000_000  # bytes, all committed .ipynb together


# -- the three forms of one notebook -------------------------------------------------------------


def sources(folder: Path = FOLDER) -> list[Path]:
    """The source of every notebook, in reading order."""
    return sorted(folder.glob("[0-9][0-9]_*.md"))


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook that a source says: no outputs, the same ids and metadata on every machine."""
    notebook = jupytext.read(source)
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"c{i:03d}"
    return notebook


def as_script(notebook) -> str:
    """The notebook as a py:percent script; its header carries no version of any tool."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata["jupytext"] = {"notebook_metadata_filter": "all,-jupytext"}
    return jupytext.writes(notebook, fmt="py:percent")


def as_ipynb(notebook) -> str:
    return nbformat.writes(notebook) + "\n"


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def same_code(a, b) -> bool:
    return [c.source for c in code_cells(a)] == [c.source for c in code_cells(b)]


def with_outputs(notebook, executed):
    """`notebook` with the outputs of `executed`, whose code cells are the same."""
    for cell, done in zip(code_cells(notebook), code_cells(executed), strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return notebook


def write(path: Path, text: str) -> bool:
    """Replace a file in one step, never half of it; False if it said the same already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


# -- execution -----------------------------------------------------------------------------------


@dataclass
class Result:
    """What came of executing one notebook."""

    source: Path
    notebook: nbformat.NotebookNode
    seconds: float
    error: str = ""
    warnings: list[str] = field(default_factory=list)

    def line(self) -> str:
        n = len(self.notebook.cells)
        verdict = "FAILED" if self.error else "ok"
        return f"{self.source.stem:<28} {n:>3} cells {self.seconds:>7.1f} s  {verdict}"


def execute(source: Path, cell_seconds: int = CELL_SECONDS) -> Result:
    """Execute a notebook in a fresh kernel; an error is kept in the result, not raised."""
    notebook = read(source)
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        kernel_name=KERNELSPEC["name"],
        record_timing=False,  # time stamps would change the bytes of every run,
        coalesce_streams=True,  # and so would the random splits of stdout
        extra_arguments=["--log-level=ERROR"],  # else each kernel explains its loopback socket
        resources={"metadata": {"path": str(source.parent)}},
    )
    running = 0

    def started(cell, cell_index):
        nonlocal running
        running = cell_index

    client.on_cell_start = started
    start, error = time.perf_counter(), ""
    try:
        client.execute()
    except CellExecutionError as problem:
        error = f"cell {running}: " + re.sub(r"\x1b\[[0-9;]*m", "", problem.traceback)
    except (CellTimeoutError, DeadKernelError) as problem:
        source_lines = indent(notebook.cells[running].source)
        error = f"cell {running}: {type(problem).__name__}: {problem}\n{source_lines}"
    notebook.metadata.pop("language_info", None)  # it holds the Python version
    warnings = [
        f"cell {i}: {output.text.strip()}"
        for i, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    return Result(source, notebook, time.perf_counter() - start, error, warnings)


def indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def execute_all(chosen: list[Path], cell_seconds: int = CELL_SECONDS, jobs: int = 2):
    """Execute notebooks `jobs` at a time; print each when it is done, yield them in order."""

    def one(source: Path) -> Result:
        result = execute(source, cell_seconds)
        report = [result.line(), *(f"  warning in {w}" for w in result.warnings)]
        report += [indent(f"{result.source.name}, {result.error}")] if result.error else []
        print("\n".join(report), flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, chosen)


# -- the verbs -----------------------------------------------------------------------------------


def sync(folder: Path = FOLDER, names: list[str] | None = None, everything: bool = False) -> int:
    """Write .py and .ipynb from .md.

    Outputs are kept while the code cells are the same, so a change of text costs nothing; after a
    change of the library, ask for everything.
    """
    stale = []
    for source in select(folder, names):
        notebook, target = read(source), source.with_suffix(".ipynb")
        write(source.with_suffix(".py"), as_script(notebook))
        old = nbformat.read(target, as_version=4) if target.exists() else None
        if everything or old is None or not same_code(notebook, old):
            stale.append(source)
        elif write(target, as_ipynb(with_outputs(notebook, old))):
            print(f"{source.stem}: text updated, outputs kept")
    failed = 0
    for result in execute_all(stale):
        if result.error:
            failed += 1
        else:
            write(result.source.with_suffix(".ipynb"), as_ipynb(result.notebook))
    return 1 if failed else 0


def run(folder: Path = FOLDER, target: Path = PAGES, cell_seconds: int = CELL_SECONDS) -> int:
    """Execute every notebook and write its page; a failed one leaves its last good page alone."""
    chosen = sources(folder)
    if not chosen:
        print(f"no notebook NN_topic.md in {folder}", file=sys.stderr)
        return 1
    print(f"Executing {len(chosen)} notebooks, two at a time ...", flush=True)
    pages.copy_assets(target, write)
    results = []
    for result in execute_all(chosen, cell_seconds):
        results.append(result)
        if not result.error:
            page = pages.page(result.notebook, result.source.stem, [s.stem for s in chosen])
            write(target / f"{result.source.stem}.html", page)
    write(target / "index.html", pages.index(results, target))
    failed = [result.source.stem for result in results if result.error]
    if failed:
        print(f"\nFailed: {', '.join(failed)}. Their last good pages, if any, are untouched.")
    print(f"\nOpen {(target / 'index.html').as_uri()}")
    return 1 if failed else 0


def violations(folder: Path = FOLDER) -> list[str]:
    """Everything that is wrong with the committed notebooks, one line each, with file and cell."""
    found, chosen, size = [], sources(folder), 0
    for source in chosen:
        notebook = read(source)
        script, target = source.with_suffix(".py"), source.with_suffix(".ipynb")
        if not script.exists() or script.read_text(encoding="utf-8") != as_script(notebook):
            found.append(
                f"{script.name}: does not say the same as {source.name}; run make notebooks"
            )
        if not target.exists():
            found.append(f"{target.name}: missing; run make notebooks")
            continue
        text = target.read_text(encoding="utf-8")
        size += len(text.encode())
        committed = nbformat.reads(text, as_version=4)
        if not same_code(notebook, committed) or text != as_ipynb(
            with_outputs(notebook, committed)
        ):
            found.append(
                f"{target.name}: does not say the same as {source.name}; run make notebooks"
            )
            continue
        neighbours = [s.stem for s in chosen]
        found += [f"{source.stem} {v}" for v in house.violations(notebook, source.stem, neighbours)]
    for companion in [*folder.glob("[0-9][0-9]_*.py"), *folder.glob("[0-9][0-9]_*.ipynb")]:
        if not companion.with_suffix(".md").exists():
            found.append(f"{companion.name}: has no source {companion.stem}.md")
    if size > SIZE_LIMIT:
        found.append(f"all .ipynb together: {size} bytes, more than {SIZE_LIMIT}")
    return found


def check(folder: Path = FOLDER) -> int:
    found = violations(folder)
    print(
        "\n".join(found)
        if found
        else f"{len(sources(folder))} notebooks: nothing to complain about"
    )
    return 1 if found else 0


def select(folder: Path, names: list[str] | None) -> list[Path]:
    chosen = {source.stem: source for source in sources(folder)}
    unknown = sorted(set(names or []) - set(chosen))
    if unknown:
        sys.exit(f"unknown notebook {', '.join(unknown)}; there are {', '.join(chosen)}")
    return [chosen[name] for name in names or chosen]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    syncing = verbs.add_parser("sync", help="write .py and executed .ipynb from .md")
    syncing.add_argument(
        "names", nargs="*", help="notebooks, such as 01_elbo; none means every one"
    )
    syncing.add_argument(
        "--all", action="store_true", help="execute even where no code cell changed"
    )
    verbs.add_parser("run", help="execute every notebook and write it as a page under build/")
    verbs.add_parser("check", help="list what is wrong with the committed notebooks")
    given = parser.parse_args()
    verb = (
        {"sync": partial(sync, names=given.names, everything=given.all)}
        if given.verb == "sync"
        else {"run": run, "check": check}
    )
    return verb[given.verb]()


if __name__ == "__main__":
    sys.exit(main())
