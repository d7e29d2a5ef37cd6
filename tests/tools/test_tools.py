"""The notebook tool on small notebooks: pairing, execution, pages, and what failures leave."""

import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tools import arithmetics, notebooks, pairs


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_sync_writes_a_triple_that_the_check_accepts_and_writes_the_same_bytes_again(folder):
    assert notebooks.sync(folder) == 0
    assert notebooks.violations(folder) == []
    first = files(folder)
    assert set(first) == {f"{n}.{e}" for n in ("01_one", "02_two") for e in ("md", "py", "ipynb")}
    assert b"jupytext" not in first["01_one.py"] + first["01_one.ipynb"]
    assert notebooks.sync(folder, everything=True) == 0
    assert files(folder) == first


@pytest.mark.slow
def test_a_change_of_text_keeps_the_outputs_and_executes_nothing(folder, monkeypatch):
    notebooks.sync(folder)
    before = nbformat.read(folder / "01_one.ipynb", as_version=4)
    monkeypatch.setattr(notebooks, "execute", None)
    replace(folder / "01_one.md", "It is two", "Two it is")
    assert notebooks.sync(folder) == 0
    after = nbformat.read(folder / "01_one.ipynb", as_version=4)
    assert "Two it is" in after.cells[0].source
    assert [c.get("outputs") for c in before.cells] == [c.get("outputs") for c in after.cells]
    assert notebooks.violations(folder) == []


@pytest.mark.slow
def test_a_change_of_code_executes_only_its_notebook(folder, capsys):
    notebooks.sync(folder)
    capsys.readouterr()
    replace(folder / "02_two.md", "s = {s:.3f}", "sum = {s:.3f}")
    assert notebooks.sync(folder) == 0
    printed = capsys.readouterr().out
    assert "02_two" in printed and "01_one" not in printed
    assert "sum = 2.000" in (folder / "02_two.ipynb").read_text(encoding="utf-8")


@pytest.mark.slow
def test_sync_leaves_the_outputs_of_a_notebook_that_fails(folder, capsys):
    notebooks.sync(folder)
    before = (folder / "01_one.ipynb").read_bytes()
    replace(folder / "01_one.md", "s = one + one", "s = one / 0")
    assert notebooks.sync(folder) == 1
    assert (folder / "01_one.ipynb").read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_sync_names_the_notebooks_there_are(folder):
    with pytest.raises(SystemExit, match=r"unknown notebook 03_three; there are 01_one, 02_two"):
        notebooks.sync(folder, ["03_three"])


@pytest.mark.slow
def test_run_keeps_the_last_good_page_of_a_notebook_that_fails(folder, tmp_path, capsys):
    target = tmp_path / "pages"
    assert notebooks.run(folder, target) == 0
    good = (target / "01_one.html").read_bytes()
    old = (target / "02_two.html").read_bytes()
    printed = capsys.readouterr().out
    assert "01_one" in printed and "cells" in printed and "index.html" in printed

    replace(folder / "01_one.md", "s = one + one", "s = one / 0")
    replace(folder / "02_two.md", "Use `+`.", "Use `add`.")
    assert notebooks.run(folder, target) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed and "s = one / 0" in printed and "ZeroDivisionError" in printed
    assert (target / "01_one.html").read_bytes() == good
    assert (target / "02_two.html").read_bytes() != old  # the other one still ran
    index = (target / "index.html").read_text(encoding="utf-8")
    assert "this is the page of the last good run" in index
    assert not [p for p in target.iterdir() if p.name.startswith(".")]


@pytest.mark.slow
def test_run_says_what_a_notebook_warns_of(folder, tmp_path, capsys):
    replace(
        folder / "01_one.md",
        "s = one + one",
        "import warnings; warnings.warn('mind'); s = one + one",
    )
    assert notebooks.run(folder, tmp_path / "pages") == 0
    assert "UserWarning: mind" in capsys.readouterr().out
    assert "UserWarning: mind" in (tmp_path / "pages" / "01_one.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cell_that_takes_too_long_and_a_kernel_that_dies_are_failures(folder, tmp_path, capsys):
    replace(folder / "01_one.md", "s = one + one", "import time; time.sleep(60)")
    replace(folder / "02_two.md", "s = one + one", "import os; os._exit(1)")
    assert notebooks.run(folder, tmp_path / "pages", cell_seconds=2) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAILED") == 2
    assert ": the limit is 2 s a cell, and seconds=4 doubles it" in printed
    assert "time.sleep(60)" in printed and "Kernel died" in printed
    assert "there is no page yet" in (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")


def test_run_without_notebooks_is_a_failure(tmp_path, capsys):
    assert notebooks.run(tmp_path, tmp_path / "pages") == 1
    assert "no notebook" in capsys.readouterr().err


@pytest.mark.slow
def test_a_page_keeps_alt_text_caption_formulas_and_links(folder, tmp_path):
    target = tmp_path / "pages"
    notebooks.run(folder, target)
    one, two = ((target / f"{n}.html").read_text(encoding="utf-8") for n in ("01_one", "02_two"))
    assert 'alt="A white pixel, which stands for any figure at all."' in one
    assert "<em>Figure. A pixel.</em>" in one
    assert "s = 1 + 1" in one and '<span class="number">(1)</span>' in one
    assert r"\tag" not in one
    assert 'id="eq-1"' in one and 'href="#eq-1"' in one
    assert 'href="02_two.html"' in one and 'rel="next"' in one
    assert 'href="01_one.html#eq-1"' in two and 'rel="prev"' in two
    assert "http://" not in one and "https://" not in one  # nothing to fetch
    for asset in ("style.css", "mathjax.js"):
        assert f"assets/{asset}" in one and (target / "assets" / asset).stat().st_size > 1000
    index = (target / "index.html").read_text(encoding="utf-8")
    assert "How much is one and one?" in index and "It is two, and each way" in index


def test_a_write_that_is_interrupted_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "x.txt"
    assert pairs.write(target, "old") is True
    assert pairs.write(target, "old") is False

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pairs.write(target, "new")
    assert files(tmp_path) == {"x.txt": b"old"}


@pytest.mark.slow
def test_an_interrupted_run_ends_its_kernels_and_does_not_wait_for_them(folder, capsys):
    replace(folder / "02_two.md", "s = one + one", "import time; time.sleep(60); s = one + one")
    results = notebooks.execute_all(pairs.sources(folder))
    assert next(results).error == ""
    results.close()
    printed = capsys.readouterr().out
    assert "01_one" in printed and "02_two" not in printed  # nobody failed


def test_a_kernel_that_does_not_start_is_one_sentence(folder, capsys, monkeypatch):
    monkeypatch.setitem(pairs.KERNELSPEC, "name", "none_such")
    (result, _) = notebooks.execute_all(pairs.sources(folder))
    assert "did not start" in result.error and "none_such" in result.error


def test_the_tests_give_a_cell_as_long_as_a_run_does():
    text = (pairs.FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f"--nbval-cell-timeout={notebooks.CELL_SECONDS}" in text


# -- arithmetics: what another processor prints ---------------------------------------------------


@pytest.mark.slow
def test_a_number_that_another_arithmetic_prints_is_listed(paired, monkeypatch):
    monkeypatch.setattr(pairs, "FOLDER", paired)
    replace(paired / "01_one.ipynb", "s = 2.000", "s = 2.001")
    ((_, here, there),) = arithmetics.differences("01_one")
    assert (here, there) == ("s = 2.000\n", "s = 2.001\n")


def test_a_processor_is_played_by_what_this_one_can_do_without():
    folder = Path(sys.prefix)
    version, plain = arithmetics.variables(arithmetics.python_of(folder), None, "AVX512")
    assert version == np.__version__ and plain["NPY_DISABLE_CPU_FEATURES"] == ""
    _, old = arithmetics.variables(arithmetics.python_of(folder), "Prescott", "SSE4")
    assert old["OPENBLAS_CORETYPE"] == "Prescott"
    assert not {
        f for f in old["NPY_DISABLE_CPU_FEATURES"].split() if f.startswith(("SSE", "X86_V2"))
    }


def test_the_oldest_versions_are_the_lower_bounds():
    found = arithmetics.oldest_bounds()
    assert "numpy==1.26" in found and "autograd==1.8" in found and len(found) == 5
