"""The forms of one notebook: NN_topic.md is the source, .py and executed .ipynb follow from it.

A translation has two forms: ko/NN_topic.md, and .ipynb with the outputs of the English notebook.
Alt text and caption of a figure stand on its cell's fence, in the language of the edition; in the
.ipynb they are put on the picture and below it, with the figure's number.
"""

import base64
import copy
from pathlib import Path

import jupytext
import nbformat

from tools import address, editions
from tools.files import write as write

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
HERO = "03_flow_composition"  # README.md opens with its first figure, hero.png
FIGURE = {"en": "Figure", "ko": "그림"}
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources(folder: Path = FOLDER) -> list[Path]:
    """The source of every notebook, in reading order."""
    return sorted(folder.glob("[0-9][0-9]_*.md"))


def translations(folder: Path = FOLDER) -> list[Path]:
    """The source of every translated notebook, such as ko/01_elbo.md."""
    return sorted(folder.glob("[a-z][a-z]/[0-9][0-9]_*.md"))


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook that a source says: no outputs, the same ids and metadata on every machine."""
    notebook = jupytext.read(source)
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    if source.is_relative_to(FOLDER):
        path = source.relative_to(FOLDER.parent).with_suffix(".ipynb").as_posix()
        first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        notebook.cells[first:first] = address.cells(address.repository(), path)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"c{i:03d}"
    return notebook


def as_script(notebook) -> str:
    """The notebook as a py:percent script; its header carries no version of any tool."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata["jupytext"] = {"notebook_metadata_filter": "all,-jupytext"}
    return jupytext.writes(notebook, fmt="py:percent")


def load(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def as_ipynb(notebook, outputs_of=None) -> str:
    """The notebook as a file, with the outputs of an executed one that has the same code cells."""
    return nbformat.writes(described(notebook, outputs_of)) + "\n"


def described(notebook, outputs_of=None):
    """A copy with the outputs of an executed notebook, its figures described, its cells folded."""
    notebook = copy.deepcopy(notebook)
    if outputs_of is not None:
        for cell, done in zip(code_cells(notebook), code_cells(outputs_of), strict=True):
            cell.outputs = copy.deepcopy(done.outputs)
            cell.execution_count = done.execution_count
    describe_figures(notebook)
    for cell in code_cells(notebook):
        if {"hide-input", "hide-cell"} & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}  # JupyterLab collapses it
    return notebook


def describe_figures(notebook) -> None:
    """Put alt text on each figure, and its numbered caption below it, from the cells' metadata."""
    word, number = FIGURE[notebook.metadata.get("post", {}).get("lang", "en")], 0
    for cell in code_cells(notebook):
        outputs = []
        for output in without_captions(cell.outputs):
            outputs.append(output)
            if "image/png" in output.get("data", {}) and "caption" in cell.metadata:
                number += 1
                output.metadata.setdefault("image/png", {})["alt"] = cell.metadata["alt"]
                text = f"*{word} {number}. {cell.metadata['caption']}*"
                outputs.append(
                    nbformat.v4.new_output(
                        "display_data",
                        {"text/markdown": text, "text/plain": text},
                        metadata={"caption": True},
                    )
                )
        cell.outputs = outputs


def without_captions(outputs: list) -> list:
    """The outputs of the code itself: a caption comes from the fence, and no kernel prints it."""
    return [output for output in outputs if not output.get("metadata", {}).get("caption")]


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def same_code(a, b) -> bool:
    return [c.source for c in code_cells(a)] == [c.source for c in code_cells(b)]


def first_figure(executed: Path) -> bytes:
    """The picture that an executed notebook shows first, as a PNG."""
    outputs = [output for cell in code_cells(load(executed)) for output in cell.outputs]
    pictures = (output.get("data", {}).get("image/png") for output in outputs)
    return base64.b64decode(next(filter(None, pictures)))


def in_step(target: Path, notebook, executed: Path) -> bool:
    """Is `target` the notebook with the outputs that `executed` holds?"""
    if not (target.exists() and executed.exists()):
        return False
    done, text = load(executed), target.read_text(encoding="utf-8")
    return same_code(notebook, done) and text == as_ipynb(notebook, outputs_of=done)


# -- what is wrong -------------------------------------------------------------------------------


def faults(folder: Path = FOLDER) -> list[str]:
    """Forms that do not say the same, forms without a source, translations that depart."""
    found = []
    hero = folder / f"{HERO}.ipynb"
    shown = folder / "hero.png"
    if hero.exists() and not (shown.exists() and shown.read_bytes() == first_figure(hero)):
        found.append(f"hero.png: is not the first figure of {hero.name}; run make notebooks")
    for source in sources(folder):
        notebook, script = read(source), source.with_suffix(".py")
        target = source.with_suffix(".ipynb")
        if not script.exists() or script.read_text(encoding="utf-8") != as_script(notebook):
            found.append(f"{script.name}: is not {source.name} as a script; run make notebooks")
        if not in_step(target, notebook, executed=target):
            found.append(f"{target.name}: is not {source.name}, executed; run make notebooks")
    for source in translations(folder):
        name, original = f"{source.parent.name}/{source.stem}", folder / source.name
        if not original.exists():
            found.append(f"{name}.md: has no original {source.name}")
            continue
        translated, target = read(source), source.with_suffix(".ipynb")
        found += [f"{name} {fault}" for fault in editions.faults(read(original), translated)]
        if not in_step(target, translated, executed=original.with_suffix(".ipynb")):
            found.append(f"{name}.ipynb: is not {name}.md with the English outputs; sync it")
    for form in [*folder.glob("**/[0-9][0-9]_*.py"), *folder.glob("**/[0-9][0-9]_*.ipynb")]:
        if ".ipynb_checkpoints" not in form.parts and not form.with_suffix(".md").exists():
            found.append(f"{form.relative_to(folder)}: has no source {form.stem}.md")
    return found


def stale(folder: Path = FOLDER) -> list[str]:
    """Translations whose English text has changed since: to be read again, not an error."""
    found = []
    for source in translations(folder):
        if (original := folder / source.name).exists():
            english = read(original)
            if editions.is_stale(english, read(source)):
                found.append(f'{source.parent.name}/{source.name} of "{editions.digest(english)}"')
    return found
