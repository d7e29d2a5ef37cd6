"""One place says where the collection lives; badges, links and Colab's cell follow."""

import ast
import os
import re
import subprocess
import sys

import nbformat
import pytest

from tools import address, editions, house, pages, pairs

URL = "https://github.com/someone/flows"


@pytest.fixture
def published(monkeypatch):
    """As if `Repository` were said in pyproject.toml."""
    project = address.project()
    project["project"]["urls"] = {"Repository": URL}
    monkeypatch.setattr(address, "project", lambda: project)


@pytest.mark.parametrize("name", address.READMES)
def test_the_readme_has_the_badges_of_the_address(name):
    text = (address.ROOT / name).read_text(encoding="utf-8")
    assert text == address.with_badges(text, address.repository(), address.READMES[name]), (
        "run python -m tools.address"
    )


@pytest.mark.parametrize("name", address.READMES)
def test_badges_come_and_go_with_the_address(published, name):
    text = (address.ROOT / name).read_text(encoding="utf-8")
    bare = address.with_badges(text, "", "Open in")
    full = address.with_badges(bare, address.repository(), "Open in")
    for link in ("actions/workflows/ci.yml", "LICENSE", "colab.research", "mybinder.org", "3.10+"):
        assert link in full.split(address.END)[0] and link not in bare.split(address.END)[0]
    assert address.with_badges(full, "", "Open in") == bare


def test_without_an_address_a_notebook_is_what_its_source_says(monkeypatch):
    monkeypatch.setattr(address, "repository", lambda: "")
    for source in pairs.sources():
        assert "colab" not in nbformat.writes(pairs.read(source))


@pytest.mark.slow
def test_with_an_address_every_notebook_opens_in_a_browser_and_breaks_no_law(published):
    order = [source.stem for source in pairs.sources()]
    for source in [*pairs.sources(), *pairs.translations()]:
        notebook = pairs.read(source)
        path = source.relative_to(address.ROOT).with_suffix(".ipynb").as_posix()
        first = next(i for i, c in enumerate(notebook.cells) if c.cell_type == "code")
        links, cell = notebook.cells[first - 1 : first + 1]
        assert f"/blob/HEAD/{path})" in links.source and f"lab/tree/{path})" in links.source
        assert cell.source.count(URL) == 1 and max(map(len, cell.source.splitlines())) <= 100
        compile(cell.source, path, "exec")
        if source == pairs.sources()[0]:
            written = nbformat.from_dict(notebook)
            del written.cells[first - 1 : first + 1]
            laws = (house.violations(n, source.stem, order) for n in (notebook, written))
            with_links, without = ([v for v in f if "counts" not in v] for f in laws)
            assert with_links == without
            assert editions.digest(notebook) == editions.digest(written)
        elif source.parent != pairs.FOLDER:
            english = pairs.read(pairs.FOLDER / source.name)
            assert not [f for f in editions.faults(english, notebook) if "https" in f]


def test_no_page_shows_the_cell_of_colab(folder):
    notebook = pairs.read(folder / "01_one.md")
    notebook.cells[2:2] = address.cells(URL, "notebooks/01_one.ipynb")
    shown = pages.page(notebook, "01_one", [pages.Entry("01_one", notebook)])
    assert "colab.research" in shown and "google.colab" not in shown


def test_an_address_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr(address, "project", lambda: {"project": {"urls": {"Repository": "x.git"}}})
    with pytest.raises(ValueError, match=r"expected https://github.com/OWNER/NAME, got x\.git"):
        address.repository()


def test_colabs_cell_fetches_the_collection_once_and_does_nothing_elsewhere(
    published, tmp_path, monkeypatch
):
    called = []

    def run(command, check):
        assert check
        called.append(command)
        if command[0] == "git":
            (tmp_path / "flows" / "notebooks").mkdir(parents=True)
            (tmp_path / "flows" / "nflib_min").mkdir()

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    source = address.cells(URL, "notebooks/01_elbo.ipynb")[1].source
    exec(source, {})
    assert called == []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    for _ in range(2):
        exec(source, {})
        assert os.getcwd() == str(tmp_path / "flows" / "notebooks") and sys.path[0] == ".."
    (clone, install) = called
    assert clone[-1] == URL and "-m pip install" in " ".join(install)
    assert install[0] == sys.executable
    names = {re.match(r"[\w-]+", word)[0] for word in install[5:]}
    assert names == set(address.MISSING)


@pytest.mark.slow
def test_what_the_notebooks_import_is_there_on_colab_or_fetched():
    code = "\n".join(c.source for s in pairs.sources() for c in pairs.code_cells(pairs.read(s)))
    imported = {
        node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)
    }
    imported |= {
        a.name for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Import) for a in n.names
    }
    ours = {path.name for path in address.ROOT.iterdir() if (path / "__init__.py").exists()}
    known = ours | {"IPython", "matplotlib", "numpy", "scipy", "sklearn"} | set(address.MISSING)
    assert {name.split(".")[0] for name in imported} - known <= sys.stdlib_module_names
