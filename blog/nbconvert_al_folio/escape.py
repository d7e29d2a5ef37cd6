"""Text and addresses as kramdown source that comes out as they were."""

from __future__ import annotations

import re

from .markup import MATHJAX_READS


def escape(text: str) -> str:
    """Text as kramdown source that comes out as this text, and that MathJax leaves alone.

    >>> escape("a_b *c* |d| costs $5")
    'a_b \\\\*c\\\\* \\\\|d\\\\| costs \\\\\\\\$5'
    """
    out = []
    pattern = re.compile(r"[\\`*\[\]|$<>&_{~]|-{2,}")
    at = 0
    for match in pattern.finditer(text):
        out.append(text[at : match.start()])
        at, char = match.end(), match[0]
        after = text[at : at + 1]
        if char == "\\":
            out.append(r"<span>\\</span>" if MATHJAX_READS.match(text, match.start()) else r"\\")
        elif char == "$":
            out.append(r"\\$")
        elif char == "<":
            out.append("&lt;")
        elif char == ">":
            out.append("&gt;")
        elif char == "&":
            out.append("&amp;" if re.match(r"#?\w+;", text[at:]) else "&")
        elif char == "_":
            inside = text[: match.start()][-1:].isalnum() and after.isalnum()
            out.append("_" if inside else r"\_")
        elif char == "{":
            out.append(r"\{" if after and after in ":#" else "{")
        elif char.startswith("-"):
            out.append(r"\-" * len(char))
        else:
            out.append("\\" + char)
    return "".join(out) + text[at:]


_LINE_START = re.compile(r"(?:#|:|=|\^|[+-](?=\s|$)|-+$)|(\d+)([.)])(?=\s|$)")


def escape_start(line: str) -> str:
    """Keep the first characters of a paragraph from making it a heading, list or definition."""
    match = _LINE_START.match(line)
    if not match:
        return line
    if match[1]:
        return f"{match[1]}\\{match[2]}{line[match.end() :]}"
    if line[0] == "^":
        return "&#94;" + line[1:]
    return "\\" + line


def literal(text: str) -> str:
    """Text with every character escaped that kramdown lets escape."""
    text = re.sub(r"[\\`*_{}\[\]()#+.!:|\"'$=~<>-]", r"\\\g<0>", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text)


def escape_url(url: str) -> str:
    return url.replace("(", "%28").replace(")", "%29").replace("|", "%7C").replace(" ", "%20")
