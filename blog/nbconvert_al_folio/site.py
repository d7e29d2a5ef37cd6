"""Where things are: the files of a post, the addresses of links and pictures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from .post import Head
from .problems import Problems, Stop
from .tags import is_safe

IMAGES = {
    "image/gif": "gif",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/svg+xml": "svg",
    "image/webp": "webp",
}
MEDIA = {
    **IMAGES,
    "video/webm": "webm",
    "video/mp4": "mp4",
    "video/x-m4v": "m4v",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
}
_CALLS = 0x100000  # characters of the second private plane stand for pieces of Liquid
CALL = re.compile("[\U00100000-\U0010fffd]")


def call_number(char: str) -> int:
    """Which of the post's Liquid calls this private character stands for."""
    return ord(char) - _CALLS


class Site:
    """The files and the addresses of one post."""

    def __init__(self, path: Path, head: Head, options: Any, problems: Problems) -> None:
        self.path, self.head, self.options, self.problems = path, head, options, problems
        self.html = options.output_mimetype == "text/html"
        self.links = {**head.links, **options.posts}
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.attachments: dict[str, dict[str, str]] = {}  # of the cell that is being read
        self.anchor: Callable[[str], str | None] = lambda fragment: fragment
        self.nowhere: list[str] = []  # links that need --repository

    # --- files

    def store(self, data: bytes, mime: str) -> str:
        """Keep a file under a name made of its content; its path in the site."""
        if mime == "image/svg+xml" and re.search(rb"<script|\son\w+\s*=|javascript:", data, re.I):
            raise Stop("an SVG picture that holds a script", "save it as PNG")
        folder = "img" if mime in IMAGES else "video" if mime.startswith("video") else "audio"
        name = hashlib.sha256(data).hexdigest()[:16]
        path = f"assets/{folder}/{self.head.slug}/{name}.{MEDIA[mime]}"
        self.files[path] = data
        return path

    def address(self, path: str) -> str:
        """Where a page finds this file of the site; an address of another site is left alone."""
        if path not in self.files:
            return path
        if self.html:
            mime = next(m for m, ending in MEDIA.items() if path.endswith("." + ending))
            data = base64.b64encode(self.files[path]).decode()
            return f"data:{mime};base64,{data}"
        return self.call(f"{{{{ '/{path}' | relative_url }}}}", "")

    def call(self, liquid: str, page: str) -> str:
        """A character that becomes this Liquid when the text around it has been protected."""
        if self.html:
            return page
        self.calls.append(liquid)
        return chr(_CALLS + len(self.calls) - 1)

    def image(self, src: str) -> str:
        """A picture's path in the site, or its address; "" where there is none to show."""
        try:
            return self._image(src)
        except Stop as stop:
            self.problems.error(stop.what, stop.remedy, excusable=True)
            return ""

    def _image(self, src: str) -> str:
        if src in self.files or re.match(r"https:|//|/", src):
            return src
        if src.startswith("http:"):
            self.problems.warn(
                f"{src[:80]} is asked for by https: the theme's pages show no other",
                "look whether it is there, or keep the picture beside the notebook",
            )
            return "https:" + src[5:]
        if src.startswith("attachment:"):
            bundle = self.attachments.get(unquote(src[11:])) or self.attachments.get(src[11:])
            mime = next((m for m in bundle or {} if m in IMAGES), None)
            if mime is None:
                raise Stop(f"a picture is expected in {src[:80]}, got {', '.join(bundle or [])}")
            return self.store(decoded(mime, bundle[mime]), mime)
        if data := re.match(r"data:([\w+/.-]+)(?:;[\w=-]+)*?(;base64)?,(.*)", src, re.S):
            if data[1] not in MEDIA:
                raise Stop(f"a data: address of type {data[1]}")
            content = decoded(data[1], data[3]) if data[2] else unquote(data[3]).encode()
            return self.store(content, data[1])
        file = (self.path.parent / unquote(src)).resolve()
        ending = {"jpeg": "jpg"}.get(file.suffix.lower()[1:], file.suffix.lower()[1:])
        mime = next((m for m, end in MEDIA.items() if ending == end), None)
        folder = Path(self.options.pictures or self.path.parent).resolve()
        if mime is None or not file.is_relative_to(folder) or not _is_file(file):
            raise Stop(
                f"an image file is expected beside the notebook, got {src[:80]}",
                "put it there, or name the folder that holds it and the notebook with --pictures",
            )
        return self.store(file.read_bytes(), mime)

    def width(self, path: str) -> int | None:
        """The width of a picture in pixels, where its file tells."""
        return picture_width(self.files[path]) if path in self.files else None

    # --- addresses

    def link(self, url: str) -> str:
        """Where a link of the notebook leads in the post; "" where it cannot lead anywhere."""
        if not is_safe(url):
            self.problems.warn(f"a link to {url[:60]!r} leads nowhere: it could run a program")
            return ""
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//|/", url):
            return url
        path, _, fragment = url.partition("#")
        if not path:
            target = self.anchor(unquote(fragment))
            if target is None:
                self.problems.error(
                    f"a link to #{fragment}, which is no heading or anchor of this notebook",
                    "mend the link",
                    excusable=True,
                )
                return ""
            return "#" + target
        fragment = "#" + fragment if fragment else ""
        target = PurePosixPath(unquote(path))
        near = (self.path.parent / str(target)).resolve()
        if target.suffix in (".ipynb", ".md", ".py"):
            known = self.links.get(str(near.with_suffix(".ipynb"))) or (
                self.links.get(target.stem) if len(target.parts) == 1 else None
            )
            if known:
                return self.call(f"{{% post_url {known} %}}", f"{known[11:]}.html") + fragment
        if self.head.repository:
            return self.in_repository(near) + fragment
        if self.html:
            return url  # a page stands where its links were written for
        self.nowhere.append(url)
        return ""

    @cached_property
    def _root(self) -> Path:
        path = self.path.resolve()
        return next((p for p in path.parents if (p / ".git").exists()), path.parent)

    def in_repository(self, path: Path, kind: str = "blob") -> str:
        """The address of a file in the repository."""
        path = path.resolve()
        inside = path.relative_to(self._root) if path.is_relative_to(self._root) else path.name
        inside = quote(PurePosixPath(inside).as_posix())
        return f"{self.head.repository}/{kind}/{self.head.ref}/{inside}"

    def colab(self) -> str:
        """The address under which Colab opens the notebook from GitHub, if it is there."""
        github = "https://github.com/"
        if not self.head.repository.startswith(github):
            return ""
        path = self.in_repository(self.path).removeprefix(github)
        return f"https://colab.research.google.com/github/{path}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def decoded(mime: str, text: Any) -> bytes:
    """The bytes of a picture as a notebook keeps it: SVG as text, everything else in base64."""
    text = text if isinstance(text, str) else "".join(text)
    if mime == "image/svg+xml" and text.lstrip().startswith("<"):
        return text.encode()
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise Stop(f"base64 data of type {mime} is expected: {error}") from error
    if not data:
        raise Stop(f"a picture of type {mime} is expected, got nothing")
    return data


def picture_width(data: bytes) -> int | None:
    """The width in pixels that the head of a PNG, GIF or JPEG tells.

    >>> picture_width(b"GIF89a" + bytes([44, 1, 9, 0]))
    300
    """
    if data.startswith(b"\x89PNG") and len(data) > 24:
        return int.from_bytes(data[16:20], "big")
    if data.startswith(b"GIF8"):
        return int.from_bytes(data[6:8], "little")
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 < len(data) and data[at] == 0xFF:
        if data[at + 1] in (0xC0, 0xC1, 0xC2):
            return int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
