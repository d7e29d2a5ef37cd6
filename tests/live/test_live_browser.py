"""A person at the figures, in a real Chromium: mouse, finger, keys, phone, dark, print."""

import re
import statistics

import numpy as np
import pytest

import live
from live import demo
from live import library as nf
from tests.live.chromium import axe, chromium, need

pytestmark = pytest.mark.slow

DESKTOP, PHONE = {"width": 1000, "height": 800}, {"width": 390, "height": 800}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LISTEN = """window.violations = [];
document.addEventListener("securitypolicyviolation",
  e => window.violations.push(e.violatedDirective));"""
DRAWN = """[...document.querySelectorAll('.nflib-live')].flatMap(l => l.stage.panels.map(p => {
  const {data} = p.ctx.getImageData(0, 0, p.canvas.width, p.canvas.height);
  return new Set(new Uint32Array(data.buffer)).size; }))"""
FOCUSED = """() => { const e = document.activeElement.shadowRoot?.activeElement;
  return e && (e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent); }"""
FIRST = (
    "parseFloat(document.querySelector('.nflib-live').shadowRoot.querySelector('dd').textContent)"
)


@pytest.fixture(scope="module")
def browser():
    need("chromium", "npm")
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page of figures; when the test ends, nothing may have been said on the console."""
    said, contexts = [], []

    def open_page(*names, lang="en", options=None, **context):
        file = tmp_path / f"{'-'.join(names) or 'all'}-{lang}.html"
        file.write_text(demo.page(lang, *names, **(options or {})), encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": DESKTOP, **context}))
        page = contexts[-1].new_page()
        page.add_init_script(LISTEN)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            said += page.evaluate("window.violations ?? []")
        context.close()
    assert said == []


def until(page, condition):
    """Wait for a JavaScript condition; the page's policy forbids Playwright's own way, by eval."""
    for _ in range(500):
        page.wait_for_timeout(20)
        if page.evaluate(condition):
            return page
    raise AssertionError(f"expected within ten seconds: {condition}")


def settled(page):
    """The page once no figure asks for a frame any more: hands off, everything drawn."""
    at_rest = (
        "[...document.querySelectorAll('.nflib-live')].every(l => l.stage.rests && !l.stage.asked)"
    )
    return until(page, at_rest)


def reads(page, key):
    """A readout: a number where it is one."""
    text = settled(page).locator(f'dd[data-key="{key}"]').inner_text()
    try:
        return float(text.replace("−", "-"))
    except ValueError:
        return text


def slider(page, name):
    return page.get_by_role("slider", name=name, exact=True)


def value(page, name):
    """What a handle says of itself, as numbers."""
    text = slider(page, name).get_attribute("aria-valuetext").replace("−", "-")
    return np.array([float(number) for number in re.findall(r"-?[\d.]+", text)])


def middle(page, name):
    box = slider(page, name).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, name, dx, dy):
    x, y = middle(page, name)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2, steps=4)
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    settled(page)


# ------------------------------------------------------------------- every figure, as it is found
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_figures_stand_on_a_page_without_a_fault(visit, scheme, size):
    phone = size is PHONE
    lang = "ko" if phone == (scheme == "dark") else "en"  # both languages on both sizes
    page = visit(lang=lang, color_scheme=scheme, viewport=size, has_touch=phone, is_mobile=phone)
    settled(page)
    assert page.locator(".nflib-live").count() == len(live.FIGURES)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.locator("img:visible").count() == 0
    dark = page.evaluate(
        "[...document.querySelectorAll('.nflib-live')].map(l => 'dark' in l.stage.box.dataset)"
    )
    assert dark == [scheme == "dark"] * len(live.FIGURES)
    drawn = page.evaluate(DRAWN)
    assert min(drawn) > 10  # colours on each canvas
    page.evaluate(axe())
    faults = page.evaluate("tags => axe.run(document, {runOnly: tags})", TAGS)["violations"]
    assert [(f["id"], [n["target"] for n in f["nodes"]]) for f in faults] == []


def test_an_idle_figure_asks_for_no_frame_and_says_what_a_frame_takes(visit, record_property):
    page = settled(visit())
    frames = "[...document.querySelectorAll('.nflib-live')].map(l => l.stage.frames)"
    before = page.evaluate(frames)
    page.wait_for_timeout(400)
    assert page.evaluate(frames) == before
    spent = page.evaluate("""async () => {
      const out = {};
      for (const l of document.querySelectorAll('.nflib-live')) {
        const times = [];
        for (let i = 0; i < 25; i++) {
          l.stage.moved(); l.stage.paint(); times.push(l.stage.spent);
        }
        out[l.stage.say.title] = times;
      }
      return out; }""")
    for title, times in spent.items():  # reported, not asserted: machines differ
        print(f"{title} median {statistics.median(times):.1f} ms of script a frame")
        record_property(title, statistics.median(times))
    assert len(spent) == len(live.FIGURES)


# ------------------------------------------------------------------------------------ by hand
LAB = ("push u", "normal w of the line", "place b of the line", "test point z")


def lab(page):
    """u, w, b and z as the lab's handles say them, and the library's answer."""
    u, w, b, z = (value(page, n) for n in LAB)
    params = {"u": u[None], "w": w[None], "b": b}
    _, log_det = nf.Planar(2, 1).forward_and_log_det(params, z[None])
    slope = np.array([[0.0, 0.0]]) - b * w / (w @ w)  # on the line, where det = 1 + c
    c = np.exp(nf.Planar(2, 1).forward_and_log_det(params, slope)[1]) - 1
    return float(c[0]), float(log_det[0])


def test_the_mouse_moves_what_python_says(visit):
    page = settled(visit("planar"))
    for name, (dx, dy) in zip(LAB, ((40, 30), (-30, 60), (25, -40), (60, 20)), strict=True):
        before = value(page, name)
        drag(page, name, dx, dy)
        assert abs(value(page, name) - before).max() > 0.1
        c, log_det = lab(page)
        assert abs(reads(page, "c") - c) < 0.05
        assert abs(reads(page, "here") - log_det) < 0.05
        assert abs(reads(page, "mass") - 1) <= 0.01
        assert abs(reads(page, "least") - min(1, 1 + c)) < 0.05


def test_a_fold_is_counted_and_the_constraint_undoes_it(visit):
    page = settled(visit("planar"))
    page.get_by_label("keep it invertible").uncheck()
    drag(page, "push u", -280, 90)
    assert reads(page, "c") < -1 and reads(page, "least") < 0 and reads(page, "turned") > 0.1
    assert (
        abs(reads(page, "c") - value(page, "push u") @ value(page, "normal w of the line")) < 0.05
    )
    assert abs(reads(page, "mass") - 1) <= 0.01
    assert "alarm" in page.locator('dd[data-key="c"]').get_attribute("class")
    page.get_by_label("keep it invertible").check()
    assert reads(page, "c") > -1 and reads(page, "turned") == 0


def test_eight_layers_and_a_radial_one_keep_the_mass(visit):
    page = settled(visit("planar"))
    page.get_by_label("layers").fill("8")
    assert abs(reads(page, "mass") - 1) <= 0.01
    page.get_by_role("radio", name="radial").check()
    assert settled(page).locator("dt").first.inner_text() == "β / α"
    assert abs(reads(page, "mass") - 1) <= 0.01 and reads(page, "turned") == 0


def test_a_finger_drags_a_handle_and_scrolls_beside_it(visit):
    page = settled(visit("planar", viewport=PHONE, has_touch=True, is_mobile=True))
    client = page.context.new_cdp_session(page)

    def swipe(x, y, dx, dy):
        for i in range(11):
            kind = "touchStart" if i == 0 else "touchMove"
            at = [{"x": x + dx * i / 10, "y": y + dy * i / 10}]
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        settled(page)

    before = value(page, "push u")
    swipe(*middle(page, "push u"), -60, 60)
    assert abs(value(page, "push u") - before).max() > 0.5
    assert page.evaluate("scrollY") == 0
    box = page.locator("canvas").first.bounding_box()
    swipe(box["x"] + 30, box["y"] + box["height"] - 20, 0, -150)
    assert page.evaluate("scrollY") > 50


def test_keys_move_a_handle_and_nothing_else(visit):
    page = settled(visit("planar"))
    slider(page, "test point z").focus()
    x, y = value(page, "test point z")
    for key, dx, dy in (
        ("ArrowRight", 0.1, 0),
        ("ArrowUp", 0, 0.1),
        ("Shift+ArrowLeft", -0.5, 0),
        ("Shift+ArrowDown", 0, -0.5),
    ):
        page.keyboard.press(key)
        x, y = x + dx, y + dy
        assert value(settled(page), "test point z") == pytest.approx([x, y], abs=0.011)
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("Control+ArrowRight")  # the browser's own
    assert value(settled(page), "test point z") == pytest.approx([x, y], abs=0.011)
    assert (
        page.locator(".nflib-live").get_attribute("data-lm-suppress-shortcuts") == "true"
    )  # Jupyter's


def test_a_tap_moves_the_chosen_handle_without_a_drag(visit):
    page = settled(visit("planar"))
    slider(page, "push u").click()
    box = page.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.75)
    assert value(settled(page), "push u") == pytest.approx([2, -2], abs=0.05)


def test_the_keyboard_reaches_all_controls_in_reading_order(visit):
    page = settled(visit("planar", options={"layers": 2}))
    names = []
    for _ in range(11):
        page.keyboard.press("Tab")
        names.append(page.evaluate(FOCUSED))
    assert [re.sub(r"\d+$", "", name or "") for name in names] == [
        "place b of the line",
        "normal w of the line",
        "push u",
        "test point z",
        "planar",
        "layers",
        "in hand",
        "keep it invertible",
        "show ln|det|",
        "reset",
        "",
    ]
    assert page.locator("[role=slider]:visible").count() == 4
    page.wait_for_timeout(600)
    assert "total mass 1.00" in page.locator("[aria-live]").inner_text()


def test_the_bar_keeps_its_height(visit):
    page = settled(visit("bound"))
    moves = {
        "centre of q": (30, 50),
        "first radius and tilt of q": (20, 10),
        "second radius of q": (5, -30),
    }
    for target, p in (("clock", nf.clock()), ("two moons", nf.table_1("U1"))):
        log_z = p.log_normalizer
        page.get_by_role("radio", name=target).check()
        for name, (dx, dy) in moves.items():
            drag(page, name, dx, dy)
            assert reads(page, "sum") == pytest.approx(log_z, abs=0.0101)
            assert reads(page, "kl") >= 0 and reads(page, "elbo") <= log_z
    page.get_by_label("draws k").fill("0")
    loose = reads(page, "L")
    page.get_by_label("draws k").fill("7")
    assert loose < reads(page, "L")
    page.get_by_role("button", name="best for KL(q‖p)").click()
    low = reads(page, "kl")
    drag(page, "second radius of q", 0, -30)
    assert reads(page, "kl") > low


def test_a_particle_keeps_its_books(visit):
    page = settled(visit("depth"))
    data = live.shipped("depth")
    for kind, f in (("32 planar layers", nf.Planar(2, 32)), ("ODE", nf.ODEFlow(2, 32, 32))):
        page.get_by_role("radio", name=kind).check()
        drag(page, "particle z", -30, 5)
        name = "planar" if isinstance(f, nf.Planar) else "ode"
        params = {n: np.array(data[name][n]) for n in f.shapes}
        z = value(page, "particle z")[None] + np.random.default_rng(0).uniform(
            -0.005, 0.005, (200, 2)
        )
        q = nf.Flow(nf.StandardNormal(2), f).log_prob(params, z)  # z is said to two digits
        assert q.min() - 0.02 <= reads(page, "qk") <= q.max() + 0.02
        assert reads(page, "qk") == pytest.approx(reads(page, "q0") - reads(page, "sum"), abs=0.011)
    slider(page, "k, t").fill("0")
    assert reads(page, "sum") == 0


def test_a_bent_line_counts_three_preimages(visit):
    page = settled(visit("mass"))
    assert (reads(page, "roots"), reads(page, "one"), reads(page, "mass")) == (1, 1, 1)
    assert reads(page, "area") == pytest.approx(reads(page, "image"), abs=0.0011)
    drag(page, "height of dot 2", 0, -180)
    slider(page, "band around z").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert reads(page, "roots") == 3 and reads(page, "one") < 0.9
    assert reads(page, "mass") == pytest.approx(1, abs=0.01)
    page.get_by_role("button", name="reset").click()
    assert reads(page, "roots") == 1


def test_the_fixed_point_arrives_or_not(visit):
    page = settled(visit("cobweb"))
    assert reads(page, "back") < 0.5
    slider(page, "bend c of the layer").focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert abs(reads(page, "c")) < 0.5 and reads(page, "back") == 1


# -------------------------------------------------------------------------------------- motion
def test_play_moves_and_pause_stops(visit):
    page = settled(visit("start"))
    page.get_by_role("button", name="play").click()
    until(page, f"{FIRST} > 0.2")
    page.get_by_role("button", name="pause").click()
    time, kl = reads(page, "t"), reads(page, "kl")
    curve = np.array(live.shipped("start")["kl"])
    assert kl == pytest.approx(np.interp(np.log(time), np.log(curve[:, 0]), curve[:, 1]), abs=0.02)
    page.wait_for_timeout(300)
    assert reads(page, "t") == time


@pytest.mark.parametrize(("figure", "key"), [("start", "t"), ("depth", "q0")])
def test_nothing_moves_for_those_who_ask_for_it(visit, figure, key):
    page = settled(visit(figure, reduced_motion="reduce"))
    assert page.get_by_role("button", name="play").count() == 0
    page.get_by_role("button", name="next").click()
    settled(page)
    frames = page.evaluate("document.querySelector('.nflib-live').stage.frames")
    page.wait_for_timeout(400)
    assert page.evaluate("document.querySelector('.nflib-live').stage.frames") == frames
    if figure == "start":
        assert reads(page, key) > 0


# ------------------------------------------------------------------- pages, themes and fallbacks
def test_the_picture_stands_in_without_javascript_and_in_print(visit):
    page = visit("planar", java_script_enabled=False)
    assert page.get_by_alt_text("A picture.").is_visible()
    page = settled(visit("planar"))
    assert not page.get_by_alt_text("A picture.").is_visible()
    page.emulate_media(media="print")
    page.wait_for_timeout(100)
    assert page.get_by_alt_text("A picture.").is_visible()
    assert not page.locator(".box").is_visible()


def test_a_browser_that_cannot_draw_keeps_the_picture(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(demo.page("en", "planar"), encoding="utf-8")
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.add_init_script("delete window.OffscreenCanvas")
    page.goto(file.as_uri())
    page.wait_for_timeout(200)
    assert (
        page.get_by_alt_text("A picture.").is_visible() and page.locator(".nflib-live").count() == 0
    )
    assert len(said) == 1 and "OffscreenCanvas" in said[0]
    page.close()


def test_a_theme_switch_is_followed_and_the_end_leaves_nothing(visit):
    page = settled(visit("planar", "planar"))  # the same figure twice on a page
    assert page.locator(".nflib-live").count() == 2
    dark = "document.querySelector('.nflib-live').stage.box.dataset.dark"
    theme, lab = "document.documentElement.dataset.theme", "document.body.dataset.jpThemeLight"
    for steps in (f"{theme} = 'dark'", f"delete {theme}; {lab} = 'false'"):
        page.evaluate(steps)
        assert settled(page).evaluate(dark) == ""
        page.evaluate(f"delete {lab}; {theme} = 'light'")
        assert settled(page).evaluate(dark) is None
    page.evaluate("document.querySelectorAll('.nflib-live').forEach(l => l.stage.end())")
    assert page.locator(".nflib-live").count() == 0
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(100)
