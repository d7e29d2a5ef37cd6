"""Figures that the reader moves: one small JavaScript module each, with a picture that stands in.

`show` puts a figure into a notebook: its PNG, and a description of the live figure under the type
MIME. Pages and posts put its `place` beside the picture and its `program` at their end; in
JupyterLab the same program runs as an anywidget, where that is installed.
"""

import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from nflib_min import plotting

MIME = "application/vnd.nflib-min.live+json"
FOLDER = Path(__file__).parent
FIGURES = ("planar", "bound", "depth", "mass", "start", "cobweb")
DIGITS = 6  # of every number in a description: what a screen can show, and what nbval compares


def describe(name: str, data: dict | None = None, **options: Any) -> dict:
    """What a live figure needs, as JSON: its name, its data if not the shipped one, its options.

    Errors: ValueError if there is no such figure, or if something cannot be written as JSON.

    >>> describe("planar", layers=2)
    {'figure': 'planar', 'options': {'layers': 2}}
    """
    if name not in FIGURES:
        raise ValueError(f"live figure: expected one of {', '.join(FIGURES)}, got {name!r}")
    parts = {"figure": name, "data": data, "options": options}
    try:
        return rounded(
            json.loads(json.dumps({k: v for k, v in parts.items() if v}, allow_nan=False))
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected data and options that JSON can hold: {error}") from None


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Every float of nested JSON, to some digits after the point.

    >>> rounded({"u": [0.12345678, 1]})
    {'u': [0.123457, 1]}
    """
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def show(
    name: str, fig: Any, data: dict | None = None, *, beside: bool = False, **options: Any
) -> None:
    """Show a live figure in a notebook, with matplotlib's `fig` as its picture.

    The output is that of `nflib_min.plotting.show`, and the description as MIME. Where the live
    figure runs the picture goes, unless the two stand `beside` each other, since the picture says
    something of its own.

    Errors: ValueError as of `describe`.
    """
    description = describe(name, data, **options)
    if beside:
        description["beside"] = True
    moving, session = {}, os.environ.get("JPY_SESSION_NAME")
    if session and importlib.util.find_spec("anywidget"):  # a person is there to move it
        lang = "ko" if Path(session).parent.name == "ko" else "en"
        moving = widget(description, lang)._repr_mimebundle_()[0]
    plotting.show(fig, {MIME: description} | ({} if beside else moving))
    if beside and moving:
        plotting.display(moving, raw=True)


def post(description: dict, view: Any) -> str:
    """The renderer of MIME for nbconvert_al_folio: a place, and one program at the post's end.

    `view` tells the language of the post and holds its footer, where all live figures of a post
    share their program.
    """
    before = re.findall(r"^const live_(\w+) ", view.footer.get("live", ""), flags=re.M)
    view.footer["live"] = program(*dict.fromkeys([*before, description["figure"]]))
    return place(description, view.lang)


def place(description: dict, lang: str) -> str:
    """Where a live figure will stand, in the `<figure>` of its picture, with all that it needs."""
    text = json.dumps(_config(description, lang), ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # nothing in it can end the script
    name = description["figure"]
    beside = " data-beside" if description.get("beside") else ""
    return f'<div data-live="{name}"{beside}><script type="application/json">{text}</script></div>'


def program(*names: str) -> str:
    """One module that fills the places of these figures and hides their pictures.

    Works from `file://` and under a Content-Security-Policy that allows inline scripts: nothing is
    fetched.
    """
    figures = ", ".join(f"{name}: live_{name}" for name in names)
    return (
        f'<script type="module">\n{bundle(*names)}\n'
        f"mount({{{figures}}}, {json.dumps(_style())});\n</script>"
    )


def _style() -> str:
    text = (FOLDER / "stage.css").read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|\n\s*", "", text, flags=re.S)


def shipped(name: str) -> dict:
    """The data that a figure comes with, written by `python -m live`; {} if it needs none."""
    file = FOLDER / "data" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _config(description: dict, lang: str) -> dict:
    """A description made complete: what the program on the page is given."""
    name = description["figure"]
    said = json.loads((FOLDER / "words.json").read_text(encoding="utf-8"))[name]
    lang = lang if lang in said else "en"
    return {"data": shipped(name), **description, "lang": lang, "words": said[lang]}


@cache
def bundle(*names: str) -> str:
    """The program of some figures as one text: what they share once, no imports, no comments.

    `live_planar` and so on are their render functions; `mount` puts them on the page.
    """
    parts = [_plain(FOLDER / "maths.js"), _plain(FOLDER / "stage.js")]
    for name in names:  # each in a scope of its own, so that their names may be the same
        figure = _plain(FOLDER / f"{name}.js")
        parts.append(f"const live_{name} = (() => {{\n{figure}\nreturn render;\n}})();")
    return "\n".join(parts)


def _plain(file: Path) -> str:
    """A module without its imports, exports, comment lines and indentation."""
    text = re.sub(r"^import .*?;\n", "", file.read_text(encoding="utf-8"), flags=re.M)
    text = re.sub(r"^export (default )?", "", text, flags=re.M)
    lines = (re.sub(r"\s+// .*$", "", line.strip()) for line in text.splitlines())
    return "\n".join(line for line in lines if line and not re.match(r"//|/\*\*|\*", line))


def widget(description: dict, lang: str = "en") -> Any:
    """The same figure as an anywidget, for a running JupyterLab; ImportError without anywidget."""
    import anywidget
    import traitlets

    name = description["figure"]

    class Live(anywidget.AnyWidget):
        _esm = f"{bundle(name)}\nexport default {{render: live_{name}}};"
        config = traitlets.Dict().tag(sync=True)

    return Live(config={**_config(description, lang), "style": _style()})
