"""Pair, run and check the notebooks: python -m tools.notebooks {sync,run,check,takeaways}

notebooks/NN_topic.md is the source. Its two companions are generated from it and never edited:
NN_topic.py (the same cells as a script) and NN_topic.ipynb (the same cells, executed).
"""

import argparse
import ast
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from threading import Event

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools import house, pages, pairs
from tools.pairs import FOLDER, KERNELSPEC

PAGES = FOLDER.parent / "build" / "pages"
CELL_SECONDS = (
    1800  # of a cell; the longest needs 40 s of a processor, which a slow or busy one adds to
)
SIZE_LIMIT = 4_000_000  # bytes, all committed .ipynb together


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


def execute(
    source: Path,
    cell_seconds: int = CELL_SECONDS,
    clients: list | None = None,
    keep_going: bool = False,
) -> Result:
    """Execute a notebook in a fresh kernel; an error is kept in the result, not raised.

    The client is appended to `clients`, so that somebody else can end its kernel.
    """
    notebook = pairs.read(source)
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        allow_errors=keep_going,
        kernel_name=KERNELSPEC["name"],
        record_timing=False,  # time stamps would change the bytes of every run,
        coalesce_streams=True,  # and so would the random splits of stdout
        extra_arguments=["--log-level=ERROR"],  # else each kernel explains its loopback socket
        resources={"metadata": {"path": str(source.parent)}},
    )
    if clients is not None:
        clients.append(client)
    running = None

    def started(cell, cell_index):
        nonlocal running
        running = cell_index

    client.on_cell_start = started
    start, error = time.perf_counter(), ""
    try:
        client.execute()
    except CellExecutionError as problem:
        error = f"cell {running}: " + re.sub(r"\x1b\[[0-9;]*m", "", problem.traceback)
    except CellTimeoutError:
        limit = f"the limit is {cell_seconds} s a cell, and seconds={2 * cell_seconds} doubles it"
        error = f"cell {running}: {limit}\n{indent(notebook.cells[running].source)}"
    except DeadKernelError as problem:
        error = f"cell {running}: {problem}\n{indent(notebook.cells[running].source)}"
    except Exception as problem:
        if running is not None:
            raise
        error = f"its kernel, a process that is reached over 127.0.0.1, did not start: {problem}"
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
    clients: list[NotebookClient] = []
    stopped = Event()

    def one(source: Path) -> Result:
        result = execute(source, cell_seconds, clients)
        if stopped.is_set():  # its kernel was ended by us, which says nothing about the notebook
            return result
        report = [result.line(), *(f"  warning in {w}" for w in result.warnings)]
        report += [indent(f"{result.source.name}, {result.error}")] if result.error else []
        print("\n".join(report), flush=True)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(one, chosen)
        except BaseException:  # Ctrl-C does not reach the kernels, and the pool waits for them
            stopped.set()
            for client in clients:
                if client.km is not None and client.km.provisioner.process is not None:
                    client.km.provisioner.process.kill()
            raise


# -- the verbs -----------------------------------------------------------------------------------


def sync(
    folder: Path = FOLDER,
    names: list[str] | None = None,
    everything: bool = False,
    cell_seconds: int = CELL_SECONDS,
) -> int:
    """Write .py and .ipynb from .md.

    Outputs are kept while the code cells are the same, so a change of text costs nothing; after a
    change of the library, ask for everything.
    """
    stale = []
    for source in select(folder, names):
        notebook, target = pairs.read(source), source.with_suffix(".ipynb")
        pairs.write(source.with_suffix(".py"), pairs.as_script(notebook))
        old = pairs.load(target) if target.exists() else None
        if everything or old is None or not pairs.same_code(notebook, old):
            stale.append(source)
        elif pairs.write(target, pairs.as_ipynb(notebook, outputs_of=old)):
            print(f"{source.stem}: text updated, outputs kept")
    failed = 0
    for result in execute_all(stale, cell_seconds):
        if result.error:
            failed += 1
        else:
            pairs.write(result.source.with_suffix(".ipynb"), pairs.as_ipynb(result.notebook))
    if (hero := folder / f"{pairs.HERO}.ipynb").exists():
        pairs.write(folder / "hero.png", pairs.first_figure(hero))
    for source in pairs.translations(folder):
        translated, english = pairs.read(source), folder / f"{source.stem}.ipynb"
        if english.exists() and pairs.same_code(translated, original := pairs.load(english)):
            text = pairs.as_ipynb(translated, outputs_of=original)
            pairs.write(source.with_suffix(".ipynb"), text)
        else:
            print(f"{source}: its code is not that of {english.name}; nothing written")
            failed += 1
    return 1 if failed else 0


def run(folder: Path = FOLDER, target: Path = PAGES, cell_seconds: int = CELL_SECONDS) -> int:
    """Execute every notebook and write its page; a failed one leaves its last good page alone."""
    chosen = pairs.sources(folder)
    if not chosen:
        print(f"no notebook NN_topic.md in {folder}", file=sys.stderr)
        return 1
    print(f"Executing {len(chosen)} notebooks, two at a time ...", flush=True)
    pages.copy_assets(target)
    results = list(execute_all(chosen, cell_seconds))
    for edition in ("en", "ko"):
        write_pages(results, target if edition == "en" else target / edition, edition)
    failed = [result.source.stem for result in results if result.error]
    if failed:
        print(f"\nFailed: {', '.join(failed)}. Their last good pages, if any, are untouched.")
    print(f"\nOpen {(target / 'index.html').as_uri()}")
    return 1 if failed else 0


def write_pages(results: list[Result], target: Path, edition: str) -> None:
    """The pages of one edition and its front page; a failed notebook keeps its last good page."""
    entries = []
    for result in results:
        source = result.source
        if edition != "en":
            source = source.parent / edition / source.name
            if not source.exists():
                continue
        outputs = None if result.error else result.notebook
        notebook = pairs.described(pairs.read(source), outputs)
        linked = not result.error or (target / f"{source.stem}.html").exists()
        entries.append(pages.Entry(source.stem, notebook, result.error, linked))
    for entry in entries:
        if not entry.error:
            page = pages.page(entry.notebook, entry.name, entries)
            pairs.write(target / f"{entry.name}.html", page)
    pairs.write(target / "index.html", pages.index(entries, edition))


def violations(folder: Path = FOLDER) -> list[str]:
    """Everything that is wrong with the committed notebooks, one line each, with file and cell."""
    found, order = pairs.faults(folder), [source.stem for source in pairs.sources(folder)]
    stored = [t for t in (folder / f"{name}.ipynb" for name in order) if t.exists()]
    for target in stored:
        name = target.stem
        found += [f"{name} {fault}" for fault in house.violations(pairs.load(target), name, order)]
    size = sum(path.stat().st_size for path in stored)
    if size > SIZE_LIMIT:
        found.append(f"all .ipynb together: {size} bytes, more than {SIZE_LIMIT}")
    return found


def check(folder: Path = FOLDER) -> int:
    found, n = violations(folder), len(pairs.sources(folder))
    print("\n".join(found) if found else f"{n} notebooks: nothing to complain about")
    for line in pairs.stale(folder):
        print(f"translation to be read again: {line}")
    return 1 if found else 0


def takeaways(folder: Path = FOLDER, names: list[str] | None = None) -> int:
    """Print each takeaway and the assertions that guard it, cell by cell."""
    for source in select(folder, names):
        notebook = pairs.read(source)
        print(f"\n# {source.stem}")
        for _, takeaway, guards in house.takeaways(notebook):
            print("\n" + fill(" ".join(takeaway.split()), 100))
            for i in guards:
                print(f"  cell {i}")
                nodes = ast.walk(ast.parse(notebook.cells[i].source))
                tests = [node for node in nodes if isinstance(node, ast.Assert)]
                for node in sorted(tests, key=lambda node: node.lineno):
                    print(f"    assert {ast.unparse(node.test)}")
    return 0


def select(folder: Path, names: list[str] | None) -> list[Path]:
    chosen = {source.stem: source for source in pairs.sources(folder)}
    unknown = sorted(set(names or []) - set(chosen))
    if unknown:
        sys.exit(f"unknown notebook {', '.join(unknown)}; there are {', '.join(chosen)}")
    return [chosen[name] for name in names or chosen]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    syncing = verbs.add_parser("sync", help="write .py and executed .ipynb from .md")
    syncing.add_argument("names", nargs="*", help="such as 01_elbo; none means every notebook")
    syncing.add_argument("--all", action="store_true", help="execute even where no code changed")
    running = verbs.add_parser("run", help="execute every notebook; write its page under build/")
    for verb in (syncing, running):
        verb.add_argument(
            "--seconds",
            type=int,
            default=CELL_SECONDS,
            metavar="N",
            help="limit of a cell (%(default)s)",
        )
    verbs.add_parser("check", help="list what is wrong with the committed notebooks")
    listing = verbs.add_parser("takeaways", help="list each takeaway and what asserts it")
    listing.add_argument("names", nargs="*", help="such as 01_elbo; none means every notebook")
    given = parser.parse_args()
    try:
        if given.verb == "sync":
            return sync(FOLDER, given.names, given.all, given.seconds)
        if given.verb == "takeaways":
            return takeaways(FOLDER, given.names)
        return run(cell_seconds=given.seconds) if given.verb == "run" else check()
    except KeyboardInterrupt:
        print("\nInterrupted: what was finished is kept, the rest is as it was.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
