"""Interactive figures: renderers for the MIME types that need a program on the page.

A renderer is a function (data, view) -> HTML.  The HTML stands in a <figure>, under the picture of
the same output if there is one; what the page needs once goes to `view.footer`.  Other packages
add renderers as entry points of the group `nbconvert_al_folio.renderers`, named by MIME type, and
the exporter's trait `renderers` holds them all.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

PLOTLY = "application/vnd.plotly.v1+json"
VEGALITE = "application/vnd.vegalite.v5+json"
GROUP = "nbconvert_al_folio.renderers"
_CDN = "https://cdn.jsdelivr.net/npm/"
# fixed versions, so that a post of today looks the same in years; the theme's policy allows https
_PLOTLY = (
    (
        "plotly.js-dist-min@2.35.2/plotly.min.js",
        "cCVCZkAjYNxaYKbM8lsArLznDF/SvMFr1jcZrvOpSTCa0W40ZAdLzHCEulnUa5i7",
    ),
)
_VEGA = (
    (
        "vega@5.30.0/build/vega.min.js",
        "em7CHpJd+SsMugVFf6TY7AKQcLWMcbPhD84hmNK8o6WFDkK+2uHSUQRVQV1/w827",
    ),
    (
        "vega-lite@5.21.0/build/vega-lite.min.js",
        "GhkD6ks9/zgY1m5EFOUZWz/vMVMUFF/92DL61RZc+B42J8osL+jNufKv68bNHHZ2",
    ),
    (
        "vega-embed@6.26.0/build/vega-embed.min.js",
        "TqXb8su49m5OnEpKGO8m+VrgHesrUxyP22HgpXi4hnh1Hm43dXroiSYemNf5D8lv",
    ),
    (
        "vega-interpreter@1.0.5/build/vega-interpreter.min.js",
        "9LanOUB60Mnbvh+fwRI/G5STHUPkO7uZitLePc1jEQdjQWSQy34Oc+TzpdvXTIh2",
    ),
)


@dataclass
class View:
    """Where a renderer's HTML will stand, and what the notebook says of the figure."""

    id: str
    lang: str
    alt: str  # a renderer may fill it in from its data
    picture: bool  # whether a static picture stands in the same <figure>
    footer: dict[str, str] = field(default_factory=dict)  # name: HTML printed once, at the end


Renderer = Callable[[Any, View], str]


def _scripts(files: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(
        f'<script src="{_CDN}{file}" integrity="sha384-{digest}" crossorigin="anonymous"></script>'
        for file, digest in files
    )


def _figure(kind: str, data: Any, view: View) -> str:
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    alt = html.escape(view.alt, quote=True)
    return (
        f'<div class="{kind}" role="img" aria-label="{alt}"></div>\n'
        f'<script type="application/json">{text}</script>'
    )


def plotly(data: Any, view: View) -> str:
    """A plotly figure, drawn from its JSON by plotly.js."""
    view.alt = view.alt or _title(data.get("layout", {}).get("title"))
    view.footer["plotly"] = (
        _scripts(_PLOTLY)
        + """
<script>
for (const place of window.Plotly ? document.querySelectorAll(".live-plotly") : []) {
  const figure = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, figure.data, figure.layout || {}, {...figure.config, responsive: true});
}
</script>"""
    )
    return _figure("live-plotly", data, view)


def vega(data: Any, view: View) -> str:
    """An Altair chart, drawn from its JSON by Vega without eval, which the theme blocks."""
    view.alt = view.alt or _title(data.get("title")) or _title(data.get("description"))
    view.footer["vega"] = (
        _scripts(_VEGA)
        + """
<script>
for (const place of window.vegaEmbed ? document.querySelectorAll(".live-vega") : []) {
  const chart = JSON.parse(place.nextElementSibling.textContent);
  vegaEmbed(place, chart, {ast: true, expr: vega.expressionInterpreter, actions: false});
}
</script>"""
    )
    return _figure("live-vega", data, view)


def _title(title: Any) -> str:
    text = title.get("text", "") if isinstance(title, dict) else title
    text = " ".join(text) if isinstance(text, list) else text
    return re.sub(r"<[^>]*>", "", text).strip() if isinstance(text, str) else ""


def renderers() -> dict[str, Renderer]:
    """This module's renderers and those of other packages, by MIME type."""
    vegas = {f"application/vnd.vegalite.v{version}+json": vega for version in (2, 3, 4, 5, 6)}
    others = {point.name: point.load() for point in entry_points(group=GROUP)}
    return {PLOTLY: plotly, **vegas, **others}


# --- the same figures, as their libraries write them into HTML -----------------------------------

_NEW_PLOT = re.compile(r"Plotly\.(?:newPlot|plot|react)\(\s*(?:'[^']*'|\"[^\"]*\"|[\w.]+)\s*,\s*")
_VEGA_EMBED = re.compile(r"vegaEmbed|vega-embed")
_SPEC = re.compile(r"\}\)\(|(?:spec|opt_spec)\s*=\s*")
_CHART = {"mark", "layer", "concat", "hconcat", "vconcat", "facet", "repeat"}


def find(text: str) -> list[tuple[str, Any]]:
    """MIME type and data of each figure that a piece of HTML draws with plotly or Altair."""
    found: list[tuple[str, Any]] = []
    for match in _NEW_PLOT.finditer(text):
        data, at = _json(text, match.end())
        if isinstance(data, list):
            layout, _ = _json(text, at)
            layout = layout if isinstance(layout, dict) else {}
            found.append((PLOTLY, {"data": data, "layout": layout}))
    for match in _SPEC.finditer(text) if _VEGA_EMBED.search(text) else ():
        chart, _ = _json(text, match.end())
        if isinstance(chart, dict) and _CHART & set(chart):
            found.append((VEGALITE, chart))
    return found


def _json(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins here after white space and a comma, and where it ends."""
    at = re.compile(r"[\s,]*").match(text, at).end()
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        return None, at
