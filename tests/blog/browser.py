"""A site in the theme's configuration, built by Jekyll and looked at in a real browser.

Needs Debian's jekyll, ruby-kramdown-parser-gfm, ruby-jekyll-toc, chromium and fonts-noto-cjk, npm
for MathJax 3.2.2, and Playwright; `need()` says what is not there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
MATHJAX = "3.2.2"
INTEGRITY = (
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="
)
THEMES = ("2023", "2026")

# what the browser is asked of each page
INSPECT = r"""
async () => {
  await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(async image => {
    image.loading = 'eager';
    try { await image.decode(); } catch (error) { /* told by naturalWidth */ }
  }));
  const content = document.querySelector('#markdown-content') || document.querySelector('article');
  const outside = 'mjx-container, script, style, code, pre';
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode())
    if (!walker.currentNode.parentElement.closest(outside)) texts.push(walker.currentNode.data);
  const math = [...MathJax.startup.document.math].filter(item => item.display !== null);
  const inside = math.filter(item => content.contains(item.typesetRoot));
  const ids = new Set([...document.querySelectorAll('[id],[name]')]
    .flatMap(node => [node.id, node.getAttribute('name')]));
  return {
    formulas: inside.map(item => [item.display ? 'd' : 'i', item.math]),
    errors: [...document.querySelectorAll('mjx-merror')].map(
      node => node.getAttribute('title') || node.textContent),
    undefined_macros: [...document.querySelectorAll('mjx-mtext')].filter(
      node => getComputedStyle(node).color === 'rgb(255, 0, 0)').map(
      node => [...node.querySelectorAll('mjx-c')].map(c => c.className).join(' ')),
    unresolved: math.filter(item => /\\(eq)?ref/.test(item.math)
      && [...item.typesetRoot.querySelectorAll('mjx-c')].some(c => /mjx-c3F/.test(c.className))
      ).map(item => item.math),
    text: texts.join('\n'),
    content: content.textContent,
    html: content.innerHTML.replace(/<mjx-container[\s\S]*?<\/mjx-container>/g, '\u27e8math\u27e9'),
    images: [...document.images].map(i => [i.getAttribute('src'), i.naturalWidth, i.alt]),
    dead: [...content.querySelectorAll('a[href^="#"]')].map(
      a => decodeURIComponent(a.getAttribute('href').slice(1))).filter(id => id && !ids.has(id)),
    width: document.documentElement.scrollWidth,
    headings: [...content.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1]),
    violations: window.__violations,
  };
}
"""


def need(*tools: str) -> None:
    """Skip the calling test, by name, where a tool is not installed; in CI that is a failure."""
    gone = [tool for tool in tools if shutil.which(tool) is None]
    if "chromium" in tools and importlib.util.find_spec("playwright") is None:
        gone.append("playwright (PyPI)")
    if gone:
        why = f"not installed: {', '.join(gone)}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)


def mathjax() -> Path:
    """MathJax from npm, its version and content fixed, kept in the checkout's build folder."""
    folder = BUILD / f"mathjax-{MATHJAX}"
    if (folder / "es5").is_dir():
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(
            ["npm", "pack", "--silent", "--cache", str(BUILD / "npm"), f"mathjax@{MATHJAX}"],
            cwd=temporary,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        data = next(Path(temporary).glob("*.tgz")).read_bytes()
        got = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if got != INTEGRITY:
            raise ValueError(f"mathjax {MATHJAX}: sha512-{INTEGRITY} expected, got sha512-{got}")
        draft = Path(temporary) / "unpacked"
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive.getmembers():
                if member.isfile() and member.name.startswith("package/es5/"):
                    archive.extract(member, draft)
        BUILD.mkdir(exist_ok=True)
        if not folder.exists():
            shutil.move(draft / "package", folder)
    return folder


def new_site(folder: Path, theme: str) -> Path:
    """A folder with the theme's configuration, into which posts can be exported."""
    shutil.copytree(HERE / "site" / "common", folder, dirs_exist_ok=True)
    shutil.copytree(HERE / "site" / theme, folder, dirs_exist_ok=True)
    return folder


def build(site: Path) -> Path:
    """Let Jekyll build the site; its warnings and errors are failures here."""
    out = site / "_site"
    done = subprocess.run(
        ["jekyll", "build", "--quiet", "--source", str(site), "--destination", str(out),
         "--disable-disk-cache"],
        capture_output=True,
        text=True,
        env={**os.environ, "LANG": "C.UTF-8", "JEKYLL_ENV": "production"},
    )  # fmt: skip
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode or any("Error" in line or "Warning" in line for line in told):
        raise AssertionError("jekyll: " + "\n".join(told))
    (out / "mathjax").symlink_to(mathjax())
    return out


@contextmanager
def served(folder: Path):
    """The folder on loopback; gives its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def handle(self):
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the browser has seen enough

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Browser:
    """One tab of headless Chromium, at a phone's width unless told otherwise."""

    def __init__(self, chromium) -> None:
        self.console: list[str] = []
        self.page = chromium.new_context().new_page()
        self.page.on("console", lambda m: self._note(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", lambda request: self._note(f"failed: {request.url}"))
        self.page.add_init_script(
            "window.__violations = [];"
            "document.addEventListener('securitypolicyviolation',"
            " e => window.__violations.push(e.violatedDirective + ' ' + e.blockedURI));"
        )

    def _note(self, text: str) -> None:
        self.console.append(text)

    def look(self, url: str, width: int = 390) -> dict:
        """Open a page, wait for MathJax and tell what is there; see INSPECT."""
        self.console.clear()
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(url, wait_until="load")
        seen = self.page.evaluate(INSPECT)
        return {**seen, "console": list(self.console)}


@contextmanager
def browser():
    """A Chromium that keeps to itself."""
    from playwright.sync_api import sync_playwright

    flags = (
        "--no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-quic"
    )
    # its crash reporter would leave a folder in the home directory
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=flags.split(),
            env={**os.environ, "XDG_CONFIG_HOME": home},
        )
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
