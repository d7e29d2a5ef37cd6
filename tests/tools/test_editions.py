"""Translated notebooks: same code, formulas and links, English outputs; departures are caught."""

import re

import pytest

from tests.conftest import source
from tools import editions, notebooks, pairs


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def translate(text: str) -> str:
    for english, korean in (
        ("It is two, and each way of adding says so.", "둘이다. 어떻게 더해도 그렇다."),
        ("which [(1)](#eq-1) says, and `s` is it.", "`s`가 바로 [(1)](#eq-1)이다."),
        ("    title: How much is one and one?\n", "    title: 하나 더하기 하나는?\n    lang: ko\n"),
    ):
        assert english in text
        text = text.replace(english, korean)
    return text


@pytest.fixture
def korean(paired):
    """The two small notebooks with a Korean edition of the first, which is in step."""
    edition = paired / "ko" / "01_one.md"
    edition.parent.mkdir()
    name = editions.digest(pairs.read(paired / "01_one.md"))
    text = translate((paired / "01_one.md").read_text(encoding="utf-8"))
    edition.write_text(
        text.replace("  post:", f"  translation:\n    of: {name}\n  post:"), encoding="utf-8"
    )
    assert notebooks.sync(paired) == 0
    return paired


def test_a_translation_takes_the_outputs_without_being_executed(paired, korean, monkeypatch):
    monkeypatch.setattr(notebooks, "execute", None)
    target = korean / "ko" / "01_one.ipynb"
    target.unlink()
    assert notebooks.sync(korean) == 0
    english, translated = pairs.load(korean / "01_one.ipynb"), pairs.load(target)
    assert "둘이다" in translated.cells[0].source
    assert [c.get("outputs") for c in english.cells] == [c.get("outputs") for c in translated.cells]
    assert notebooks.violations(korean) == [] and pairs.stale(korean) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("assert s + 0 == 2", "assert s + 0 == 2.0", "the code differs"),
        ('tags=["setup"]', "", "the code differs"),
        ("s = 1 + 1", "s = 1 + 2", "lacks the formula $$ s = 1 + 1"),
        ("`s`가", "s가", "lacks the code `s`"),
        ("(#eq-1)", "(#eq-2)", "adds the link #eq-2"),
        ("(02_two.ipynb)", "(02_three.ipynb)", "lacks the link 02_two.ipynb"),
        ('id="eq-1"', 'id="eq-9"', "lacks the anchor eq-1"),
        ("## Adding", "### Adding", "lacks the heading ##"),
        ("**One and one is two.**", "One and one is two.", "takeaways (paragraphs in bold) in"),
        ("Step 3.", "Step $3$.", "adds the formula $3$"),
        ("Step 3.", "Step\n\n```python\n3\n```\n\nthree.", "cells of the same kinds, got"),
        ("둘이다", "두 개다", "is not ko/01_one.md with the English outputs"),
    ],
)
def test_a_translation_that_departs_is_caught(korean, old, new, message):
    replace(korean / "ko" / "01_one.md", old, new)
    assert any(message in fault for fault in pairs.faults(korean)), pairs.faults(korean)


def test_a_link_to_a_file_of_the_project_is_one_folder_longer(korean):
    replace(korean / "01_one.md", "Step 3.", "[Step](../nflib_min/flow.py) 3.")
    replace(korean / "ko" / "01_one.md", "Step 3.", "[Step](../../nflib_min/flow.py) 3.")
    assert notebooks.sync(korean) == 0
    assert pairs.faults(korean) == []


def test_a_change_of_the_english_text_makes_the_translation_stale_but_not_wrong(korean, capsys):
    replace(korean / "01_one.md", "Some more.", "Some more words.")
    assert notebooks.sync(korean) == 0
    assert notebooks.check(korean) == 0
    assert "to be read again: ko/01_one.md" in capsys.readouterr().out


@pytest.mark.parametrize("written", ["623622616891", '"623622616891"', '"000000616891"'])
def test_a_digest_of_digits_alone_is_a_name_too(korean, monkeypatch, written):
    monkeypatch.setattr(editions, "digest", lambda notebook: written.strip('"'))
    edition = korean / "ko" / "01_one.md"
    edition.write_text(
        re.sub(r"of: .*", f"of: {written}", edition.read_text(encoding="utf-8")), encoding="utf-8"
    )
    assert pairs.stale(korean) == []
    monkeypatch.setattr(editions, "digest", lambda notebook: "623622616892")
    assert pairs.stale(korean) == ['ko/01_one.md of "623622616892"']


def test_sync_refuses_a_translation_whose_code_is_another(korean, capsys):
    before = (korean / "ko" / "01_one.ipynb").read_bytes()
    replace(korean / "ko" / "01_one.md", "assert s + 0 == 2", "assert s")
    assert notebooks.sync(korean) == 1
    assert "nothing written" in capsys.readouterr().out
    assert (korean / "ko" / "01_one.ipynb").read_bytes() == before


def test_a_translation_without_original_is_caught(korean):
    (korean / "ko" / "09_nine.md").write_text(source(), encoding="utf-8")
    assert "ko/09_nine.md: has no original 09_nine.md" in pairs.faults(korean)
