"""Figures that say what they show: alt text, captions, colours apart, the same bytes each time."""

import base64
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_rgb
from PIL import Image

from nflib_min import StandardNormal, plotting
from nflib_min.checks import grid
from nflib_min.plotting import BASE, FLOW, LOG_DET, STYLES, TARGET

ROLES = {"base": BASE, "target": TARGET, "flow": FLOW, "log det": LOG_DET}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def published(monkeypatch):
    """What a notebook's front end would receive."""
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


def line_figure():
    fig, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot([0, 1, 2], [1, 0, 2], color=FLOW, label="flow")
    ax.legend()
    return fig


# -------------------------------------------------------------------------------------------- show
def test_show_leaves_one_image_and_closes_the_figure(published):
    plt.close("all")  # what other tests of this process left open
    plotting.show(line_figure())
    (image,) = published
    assert Image.open(io.BytesIO(decoded(image["data"]["image/png"]))).format == "PNG"
    assert plt.get_fignums() == []  # closed: no second picture at the cell's end


def decoded(data):
    return data if isinstance(data, bytes) else base64.b64decode(data)


def test_the_bytes_of_a_figure_are_the_same_each_time(published):
    for _ in range(2):
        plotting.show(line_figure())
    assert published[0]["data"]["image/png"] == published[1]["data"]["image/png"]
    image = Image.open(io.BytesIO(decoded(published[0]["data"]["image/png"])))
    assert "Software" not in image.info  # matplotlib's version would be there
    # more pixels than are shown, for sharp screens: a 2 x 1.5 inch figure is shown 200 wide
    assert image.size == tuple(round(plotting.SHARPNESS * side) for side in (200, 150))
    assert published[0]["metadata"]["image/png"]["width"] == 200
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def shown(published, draw):
    """The picture that `show` made of a figure, on a light page and on a dark one."""
    fig, ax = plt.subplots(figsize=(2, 2))
    draw(ax)
    plotting.show(fig)
    data, ink = (published[-1][part]["image/png"] for part in ("data", "metadata"))
    pngs = decoded(data), plotting.dark(decoded(data), ink["ink"])
    return [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in pngs]


def test_on_a_dark_page_ground_and_text_change_places(published):
    light, dark = shown(published, lambda ax: ax.set_title("title"))
    assert light[0, 0].tolist() == [255, 255, 255] and dark[0, 0].tolist() == [28, 28, 29]
    darkest = np.unravel_index(light.sum(axis=2).argmin(), light.shape[:2])
    assert dark[darkest].min() > 200
    assert contrast(dark[darkest] / 255, dark[0, 0] / 255) > 7


@pytest.mark.parametrize("role", ROLES)
def test_on_a_dark_page_a_role_keeps_its_hue(published, role):
    light, dark = shown(published, lambda ax: ax.axvspan(0, 1, color=ROLES[role]))
    middle = tuple(side // 2 for side in light.shape[:2])
    away = np.array(to_rgb(ROLES[role])) - dark[middle] / 255
    assert np.abs(away).max() < 0.2
    assert contrast(dark[middle] / 255, to_rgb("#1c1c1d")) > 3


def test_on_a_dark_page_a_density_map_stays_as_it_is(published):
    light, dark = shown(published, lambda ax: plotting.density(ax, StandardNormal(2).log_prob))
    middle = tuple(slice(side // 2 - 20, side // 2 + 20) for side in light.shape[:2])
    assert np.array_equal(light[middle], dark[middle])
    assert not np.array_equal(light[0, 0], dark[0, 0])


# ----------------------------------------------------------------------------------------- colours
def luminance(color):
    """Relative luminance of WCAG 2, from sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(one, two):
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("page", ["#ffffff", "#1c1c1d"])
def test_colours_can_be_seen_on_light_and_dark_pages(role, page):
    """3:1, what WCAG 2 asks of graphics; #CC79A7 on white is the closest case."""
    assert contrast(ROLES[role], page) >= 3.0


def test_contrast_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_roles_are_told_apart():
    for one, two in itertools.combinations(ROLES.values(), 2):
        assert np.linalg.norm(np.subtract(to_rgb(one), to_rgb(two))) > 0.3
    assert set(STYLES) == set(ROLES.values())


# ------------------------------------------------------------------------------------------ panels
def test_density_shows_the_density_the_right_way_up():
    """z_1 to the right, z_2 up: a peak at (2, -1) is drawn there and nowhere else."""
    peak = np.array([2.0, -1.0])
    _, ax = plt.subplots()
    plotting.density(
        ax, lambda z: -0.5 * np.sum(((z - peak) / 0.3) ** 2, axis=1), (-4.0, 4.0), 80, "p"
    )
    (image,) = ax.images
    row, column = np.unravel_index(np.argmax(image.get_array()), (80, 80))
    z, _ = grid((-4.0, 4.0), 80)
    assert z[row * 80 + column] == pytest.approx(peak, abs=0.1)
    assert image.origin == "lower" and tuple(image.get_extent()) == (-4, 4, -4, 4)
    assert ax.get_title() == "p" and image.get_cmap().name in ("viridis", "cividis")


def test_samples_are_drawn_where_they_are():
    _, ax = plt.subplots()
    z = np.array([[1.0, 2.0], [-3.0, 0.5]])
    plotting.samples(ax, z, color=BASE)
    (points,) = ax.collections
    assert np.array_equal(points.get_offsets(), z)
    assert points.get_facecolor()[0, :3] == pytest.approx(to_rgb(BASE))


def test_warped_grid_draws_the_image_of_every_line():
    _, ax = plt.subplots()
    plotting.warped_grid(ax, lambda z: 2 * z + 1, limits=(-1.0, 1.0), lines=5, view=(-2.0, 4.0))
    assert len(ax.collections) == 10
    corners = np.concatenate([c.get_segments()[0] for c in ax.collections])
    assert corners.min() == -1.0 and corners.max() == 3.0
    assert ax.get_xlim() == (-2.0, 4.0)


def test_axes_are_square_and_labelled():
    _, ax = plt.subplots()
    plotting.square(ax, (-3.0, 3.0), "z")
    assert ax.get_xlim() == ax.get_ylim() == (-3.0, 3.0) and ax.get_aspect() == 1.0
    assert ax.get_xlabel() == "$z_1$" and ax.get_ylabel() == "$z_2$"
    assert list(ax.get_xticks()) == [-3.0, 0.0, 3.0]


def test_trace_averages_blocks_under_the_evidence():
    _, ax = plt.subplots()
    plotting.trace(ax, np.arange(10.0), log_evidence=12.0, every=4)
    curve, line = ax.lines
    assert curve.get_xdata().tolist() == [4, 8] and curve.get_ydata().tolist() == [1.5, 5.5]
    assert set(line.get_ydata()) == {12.0} and line.get_linestyle() == "--"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ELBO", r"$\ln Z$"]
    assert ax.get_xlabel() == "step" and ax.get_ylabel() == "nats"


def test_trace_without_evidence_draws_no_line():
    _, ax = plt.subplots()
    plotting.trace(ax, [1.0, 2.0])
    assert len(ax.lines) == 1


def test_panels_do_not_overlap():
    fig, axes = plotting.panels(2, 3)
    assert axes.shape == (2, 3)
    for ax in axes.ravel():
        plotting.density(ax, StandardNormal(2).log_prob, points=20, title="$q_0$")
    fig.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in axes.ravel()]
    for one, two in itertools.combinations(boxes, 2):
        overlap = (
            min(one.x1, two.x1) - max(one.x0, two.x0),
            min(one.y1, two.y1) - max(one.y0, two.y0),
        )
        assert min(overlap) <= 1.0  # pixels
