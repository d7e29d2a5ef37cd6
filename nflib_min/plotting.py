"""House style: one colour a role, warped grids, densities, traces, figures with alt text.

The one file that needs matplotlib and IPython, which the notebooks' environment has.
"""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nflib_min._arrays import Array
from nflib_min.checks import grid

BASE = "#0072B2"  # q_0
TARGET = "#D55E00"  # the target, or data
FLOW = "#009E73"  # q_K
LOG_DET = "#CC79A7"  # Jacobians and log-determinants
OTHER_INK = ("#E69F00", "#56B4E9", "#F0E442")  # what a figure may use beside the roles
STYLES = {BASE: "-", TARGET: "--", FLOW: "-", LOG_DET: ":"}  # colour is never the only sign
DENSITY = "viridis"
DPI = 100  # of the page: how large a figure appears
SHARPNESS = 1.5  # pixels of the file for one of the page, for screens that can show more


def density(
    ax: Axes,
    log_prob: Callable[[Array], Array],
    limits: tuple[float, float] = (-4.0, 4.0),
    points: int = 160,
    title: str = "",
) -> None:
    """Draw exp(log_prob) of (n, 2) points over a square, its brightest value the panel's own.

    >>> from nflib_min import StandardNormal
    >>> _, ax = plt.subplots()
    >>> density(ax, StandardNormal(2).log_prob, title="q_0")
    """
    z, _ = grid(limits, points)
    q = np.exp(log_prob(z)).reshape(points, points)
    ax.imshow(q, origin="lower", extent=(*limits, *limits), cmap=DENSITY, interpolation="bilinear")
    square(ax, limits, title)


def samples(
    ax: Axes,
    z: Array,
    limits: tuple[float, float] = (-4.0, 4.0),
    color: str = FLOW,
    title: str = "",
) -> None:
    """Scatter (n, 2) points in the colour of their role.

    >>> _, ax = plt.subplots()
    >>> samples(ax, np.zeros((5, 2)))
    """
    ax.scatter(z[:, 0], z[:, 1], s=4, color=color, alpha=0.5, linewidths=0)
    square(ax, limits, title)


def warped_grid(
    ax: Axes,
    forward: Callable[[Array], Array],
    limits: tuple[float, float] = (-3.0, 3.0),
    lines: int = 19,
    view: tuple[float, float] = (-4.0, 4.0),
    color: str = FLOW,
    title: str = "",
) -> None:
    """Draw the image of a square grid under a map of (n, 2) points: areas show the determinant.

    >>> _, ax = plt.subplots()
    >>> warped_grid(ax, lambda z: 2 * z)
    """
    along = np.linspace(*limits, 200)
    for at in np.linspace(*limits, lines):
        across = np.full_like(along, at)
        for line in (np.stack([along, across], axis=1), np.stack([across, along], axis=1)):
            ax.add_collection(LineCollection([forward(line)], colors=color, linewidths=0.6))
    square(ax, view, title)


def square(ax: Axes, limits: tuple[float, float], title: str = "") -> None:
    """Equal axes on the same limits in z_1 and z_2, labelled, with few ticks.

    >>> _, ax = plt.subplots()
    >>> square(ax, (-4.0, 4.0), "z_K")
    """
    low, high = limits
    ax.set(xlim=limits, ylim=limits, aspect="equal", title=title)
    ticks = [low, (low + high) / 2, high]
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_xlabel("$z_1$", labelpad=1)
    ax.set_ylabel("$z_2$", labelpad=-4)


def trace(
    ax: Axes,
    elbo: Sequence[float],
    log_evidence: float | None = None,
    every: int = 1,
    label: str = "ELBO",
    color: str = FLOW,
) -> None:
    """Draw an ELBO against steps, averaged over blocks of `every`, under the ln Z it bounds.

    >>> _, ax = plt.subplots()
    >>> trace(ax, [-3.0, -2.0], log_evidence=-1.0)
    """
    values = np.asarray(elbo, dtype=float)
    blocks = values[: len(values) // every * every].reshape(-1, every).mean(axis=1)
    ax.plot(every * (np.arange(len(blocks)) + 1), blocks, color=color, label=label)
    if log_evidence is not None:
        ax.axhline(log_evidence, color=TARGET, linestyle="--", label=r"$\ln Z$")
    ax.set(xlabel="step", ylabel="nats")
    ax.legend(frameon=False)


def panels(rows: int, columns: int, size: float = 2.3) -> tuple[Figure, Array]:
    """A figure of square panels, laid out without overlap, and its axes, shape (rows, columns).

    >>> fig, axes = panels(1, 3)
    >>> axes.shape
    (1, 3)
    """
    return plt.subplots(
        rows,
        columns,
        figsize=(size * columns, size * rows + 0.3),
        squeeze=False,
        layout="constrained",
    )


def show(fig: Figure, also: Mapping[str, object] | None = None) -> None:
    """Show a figure as one PNG and close it; its alt text and caption stand on the cell's fence.

    256 colours are chosen for the figure, a third of the bytes and no difference to the eye: first
    those of its density maps, then the ink (lines, text, background). How many are ink stands in
    the output's metadata, so that `dark` can turn the ink alone. The bytes depend on the figure and
    matplotlib's version alone.

    Parameters
    ----------
    also : other forms of the same figure, by MIME type, for pages that can show them.

    >>> show(plt.figure())  # doctest: +ELLIPSIS
    <IPython.core.display.Image object>...
    """
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", dpi=SHARPNESS * DPI, facecolor="white")
    picture = PIL.Image.open(drawn).convert("RGB")
    maps = _map_mask(fig, picture.size)
    plt.close(fig)
    png, ink = _quantized(np.asarray(picture), maps)
    width = round(picture.width / SHARPNESS)
    image = Image(png, width=width, metadata={"ink": ink})
    if not also:
        return display(image)
    data, about = image._repr_mimebundle_()
    display({**data, **also, "text/plain": repr(image)}, raw=True, metadata=about)


def _map_mask(fig: Figure, size: tuple[int, int]) -> Array:
    """True for the pixels that lie under a density map, (height, width)."""
    width, height = size
    mask = np.zeros((height, width), bool)
    scale = SHARPNESS * DPI / fig.dpi
    for ax in fig.axes:
        if ax.images or any(isinstance(c, QuadMesh) for c in ax.collections):
            extents = scale * np.array(ax.get_window_extent().extents)
            x0, y0, x1, y1 = extents.round().astype(int)
            mask[height - y1 : height - y0, x0:x1] = True
    return mask


def _quantized(pixels: Array, maps: Array) -> tuple[bytes, int]:
    """A palette PNG, the colours of the maps first, and how many colours are ink."""
    indices = np.zeros(maps.shape, np.uint8)
    palette: list[list[int]] = []
    for mask, most in ((maps, 160), (~maps, 256 - 160 * bool(maps.any()))):
        if mask.any():
            row = PIL.Image.fromarray(pixels[mask][None]).quantize(most, kmeans=2)
            found = np.asarray(row)[0]
            kept, found = np.unique(found, return_inverse=True)
            indices[mask] = len(palette) + found.ravel()
            palette += np.array(row.getpalette()).reshape(-1, 3)[kept].tolist()
            ink = len(kept)
    picture = PIL.Image.fromarray(indices, "P")
    picture.putpalette(np.array(palette, np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return file.getvalue(), ink if (~maps).any() else 0


def dark(png: bytes, ink: int, ground: str = "#1c1c1d") -> bytes:
    """The same figure for a dark page: white becomes the page's ground, black nearly white.

    Greys get the opposite lightness and colours stay, with all mixtures of the two between. Density
    maps stay as they are, since their colours mean something.

    Parameters
    ----------
    png : from `show`. ink : how many colours of its palette, the last ones, are ink.

    >>> picture = PIL.Image.new("P", (1, 1))
    >>> picture.putpalette([255, 255, 255])
    >>> file = io.BytesIO()
    >>> picture.save(file, "png")
    >>> PIL.Image.open(io.BytesIO(dark(file.getvalue(), ink=1))).convert("RGB").getpixel((0, 0))
    (28, 28, 29)
    """
    at = png.index(b"PLTE")  # a chunk is its length, its name, its data and their checksum
    end = at + 4 + int.from_bytes(png[at - 4 : at], "big")
    palette = np.frombuffer(png[at + 4 : end], np.uint8).reshape(-1, 3) / 255
    rgb = palette[len(palette) - ink :].copy()
    # on white a colour is (1 - t) white + t pigment; take the pigment that fits best, and put the
    # same t of it, a little lighter, on the dark ground
    best = np.full(len(rgb), np.inf)
    for pigment in (BASE, TARGET, FLOW, LOG_DET, "#000000", *OTHER_INK):
        away = np.array(to_rgb(pigment)) - 1
        t = np.clip((rgb - 1) @ away / (away @ away), 0, 1)[:, None]
        misfit = np.abs(1 + t * away - rgb).sum(axis=1)
        on_dark = 0.93 * np.ones(3) if pigment == "#000000" else 1 + 0.85 * away
        turned, closer = (1 - t) * to_rgb(ground) + t * on_dark, misfit < best
        palette[len(palette) - ink :][closer] = turned[closer]
        best = np.minimum(best, misfit)
    chunk = b"PLTE" + (palette * 255).round().astype(np.uint8).tobytes()
    return png[:at] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[end + 4 :]
