"""House style: one colour a role, warped grids, densities, traces, figures with alt text.

The one file that needs matplotlib and IPython, which the notebooks' environment has.
"""

import io
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from nflib_min._arrays import Array
from nflib_min.checks import grid

BASE = "#0072B2"  # q_0
TARGET = "#D55E00"  # the target, or data
FLOW = "#009E73"  # q_K
LOG_DET = "#CC79A7"  # Jacobians and log-determinants
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
    >>> density(ax, StandardNormal(2).log_prob, title="$q_0$")
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
    >>> square(ax, (-4.0, 4.0), "$z_K$")
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


def show(fig: Figure, *, alt: str, caption: str) -> None:
    """Show a figure with the alt text and caption it must have, and close it.

    The output is one image/png whose metadata carries both, then the caption as text: nbconvert and
    the posts put `alt` on the image. The bytes depend on the figure and matplotlib's version alone.

    Errors: ValueError if alt or caption is empty.

    >>> show(plt.figure(), alt="An empty figure.", caption="Nothing.")  # doctest: +ELLIPSIS
    <IPython.core.display.Image object>...
    """
    for name, text in (("alt", alt), ("caption", caption)):
        if not text.strip():
            raise ValueError(f"{name}: expected a sentence about the figure, got {text!r}")
    drawn, png = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", dpi=SHARPNESS * DPI, facecolor="white")
    plt.close(fig)
    # 256 colours chosen for this figure: a third of the bytes, and no difference to the eye
    picture = PIL.Image.open(drawn).convert("RGB").quantize(256, kmeans=2)
    picture.save(png, "png", optimize=True)
    width = round(picture.width / SHARPNESS)
    display(Image(png.getvalue(), alt=alt, width=width, metadata={"caption": caption}))
    text = f"*Figure. {caption}*"
    display({"text/markdown": text, "text/plain": text}, raw=True)
