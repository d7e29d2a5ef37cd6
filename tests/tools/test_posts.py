"""The posts of the notebooks: each figure for both themes, the live ones alive."""

import json

import nbformat
import pytest

import live
from tools import pairs, posts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    return out, {page.name: page.read_text(encoding="utf-8") for page in posts.write(out)}


def outputs(path):
    return [o for cell in pairs.code_cells(pairs.load(path)) for o in cell.outputs]


def test_every_notebook_is_a_post_in_both_languages(site):
    _, written = site
    korean = [name for name in written if name.endswith("-ko.md")]
    assert len(written) == 2 * len(korean) == 2 * len(pairs.sources())


def test_every_picture_has_a_twin_for_the_dark_theme(site):
    out, written = site
    for text in written.values():
        light, dark = (text.count(f'only-{theme}"') for theme in ("light", "dark"))
        assert light == dark == text.count("figure.liquid") / 2
    assert all(list((out / "assets/img").glob(f"{name}/*.png")) for name in ("elbo", "elbo-ko"))


def test_a_live_figure_of_a_notebook_is_one_of_its_post(site):
    _, written = site
    for source in [*pairs.sources(), *pairs.translations()]:
        data = [o.data for o in outputs(source.with_suffix(".ipynb")) if "data" in o]
        figures = [d[live.MIME]["figure"] for d in data if live.MIME in d]
        lang = "ko" if source.parent.name == "ko" else "en"
        slug = source.stem[3:].replace("_", "-") + ("-ko" if lang == "ko" else "") + ".md"
        (text,) = [text for name, text in written.items() if name[11:] == slug]
        assert [text.count(f'data-live="{name}"') for name in live.FIGURES] == [
            figures.count(name) for name in live.FIGURES
        ]
        assert text.count('<script type="module">') == (1 if figures else 0)
        assert text.count(f'"lang":"{lang}"') == len(figures)


def test_a_picture_without_ink_stays_alone():
    output = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": ""})
    cell = nbformat.v4.new_code_cell(outputs=[output])
    notebook, _ = posts.with_twins(nbformat.v4.new_notebook(cells=[cell]), {})
    assert json.dumps(notebook.cells[0].outputs[0].data) == '{"image/png": "", "text/plain": ""}'
