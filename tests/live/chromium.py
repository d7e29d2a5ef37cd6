"""Chromium, axe-core and the tools that the tests of the live figures need."""

import base64
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"
AXE = "4.14.1"
INTEGRITY = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)


def need(*tools: str) -> None:
    """Skip the calling test, by name, where a tool is not installed; in CI that is a failure."""
    gone = [tool for tool in tools if shutil.which(tool) is None]
    if "chromium" in tools and importlib.util.find_spec("playwright") is None:
        gone.append("playwright (PyPI)")
    if gone:
        why = f"not installed: {', '.join(gone)}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)


def axe() -> str:
    """The text of axe-core from npm, its version and content fixed, kept in the build folder."""
    file = BUILD / f"axe-core-{AXE}.js"
    if not file.exists():
        with tempfile.TemporaryDirectory() as temporary:
            subprocess.run(
                ["npm", "pack", "--silent", "--cache", str(BUILD / "npm"), f"axe-core@{AXE}"],
                cwd=temporary,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            data = next(Path(temporary).glob("*.tgz")).read_bytes()
        got = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if got != INTEGRITY:
            raise ValueError(f"axe-core {AXE}: sha512-{INTEGRITY} expected, got sha512-{got}")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            text = archive.extractfile("package/axe.min.js").read()
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(text)
        draft.replace(file)
    return file.read_text(encoding="utf-8")


@contextmanager
def chromium():
    """A Chromium that keeps to itself."""
    from playwright.sync_api import sync_playwright

    flags = (
        "--no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-quic"
    )
    # its crash reporter would leave a folder in the home directory
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=flags.split(),
            env={**os.environ, "XDG_CONFIG_HOME": home},
        )
        try:
            yield browser
        finally:
            browser.close()
