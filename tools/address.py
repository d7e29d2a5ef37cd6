"""Where this collection lives, said once, and all that follows: python -m tools.address

`Repository` in pyproject's [project.urls] is the one place. From it come README's badges, and in
each notebook the links that open it in a browser, with the cell that Colab needs. Where the key is
missing none of them appears.
"""

import re
import sys
import textwrap

import nbformat

from tools.setup import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

READMES = {"README.md": "Open in", "README.ko.md": "열기:"}
BEGIN, END = "<!-- address:begin -->", "<!-- address:end -->"
# What the notebooks import, beside numpy, scipy and matplotlib, and Colab may lack or have too new.
MISSING = ("autograd", "distributed", "joblib", "scikit-learn", "threadpoolctl", "tqdm")
TAGS = ["address", "remove-cell"]  # no law counts it, no page and no post shows it
CELL = """\
import os
import subprocess
import sys

if "google.colab" in sys.modules and not os.path.exists("../nflib_min"):
    # Colab has this file alone: fetch the others, and the packages they need.
    fetch = "git clone -q --depth 1 {url}"
    needed = \"\"\"
{packages}
    \"\"\"
    for command in (fetch, f"{{sys.executable}} -m pip install -q {{needed}}"):
        subprocess.run(command.split(), check=True)
    os.chdir("{name}/notebooks")
    sys.path.insert(0, "..")"""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def repository() -> str:
    """The address of the repository, or nothing."""
    url = project()["project"].get("urls", {}).get("Repository", "")
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w-]+", url):
        raise ValueError(f"Repository: expected https://github.com/OWNER/NAME, got {url}")
    return url


def opened_by(url: str, path: str) -> dict[str, str]:
    """The addresses that open a notebook of the repository in a browser."""
    place = url.removeprefix("https://github.com/")
    return {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/HEAD/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/HEAD?urlpath=lab/tree/{path}",
    }


def badges(url: str, word: str) -> str:
    """README's line of badges; nothing without an address."""
    if not url:
        return ""
    versions = project()["project"]["requires-python"].replace(">=", "") + "+"
    badge, files = "https://img.shields.io/badge", f"{url}/blob/HEAD"
    opened = opened_by(url, "notebooks/01_elbo.ipynb")
    return "\n".join(
        [
            f"[![CI]({url}/actions/workflows/ci.yml/badge.svg)]({url}/actions/workflows/ci.yml)",
            f"[![Python {versions}]({badge}/python-{versions}-blue)]({files}/pyproject.toml)",
            f"[![MIT]({badge}/code-MIT-blue)]({files}/LICENSE)",
            f"[![CC BY 4.0]({badge}/text-CC_BY_4.0-blue)]({files}/LICENSE-CC-BY-4.0)",
            *(f"[{word} {name}]({link})" for name, link in opened.items()),
        ]
    )


def with_badges(text: str, url: str, word: str) -> str:
    """A README with the part between its two marks written anew."""
    before, rest = text.split(BEGIN)
    inside = f"\n{badges(url, word)}\n" if url else "\n"
    return before + BEGIN + inside + END + rest.split(END)[1]


def cells(url: str, path: str) -> list:
    """What a notebook of the repository begins with: links that open it, and Colab's cell."""
    if not url:
        return []
    links = " · ".join(f"[{name}]({link})" for name, link in opened_by(url, path).items())
    groups = project()["dependency-groups"]
    listed = [entry for name in ("notebooks", "reproduce") for entry in groups[name]]
    listed += project()["project"]["dependencies"]
    bounds = [entry for entry in listed if re.match(r"[\w-]+", entry)[0] in MISSING]
    packages = textwrap.indent(textwrap.fill(" ".join(sorted(bounds)), 90), "    ")
    source = CELL.format(url=url, name=url.rsplit("/", 1)[1], packages=packages)
    code = nbformat.v4.new_code_cell(source, metadata={"tags": TAGS})
    return [nbformat.v4.new_markdown_cell(links, metadata={"tags": TAGS[:1]}), code]


def main() -> int:
    for name, word in READMES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(with_badges(text, repository(), word), encoding="utf-8")
    print(f"badges of {repository() or 'no address'}; make notebooks writes the notebooks' links")
    return 0


if __name__ == "__main__":
    sys.exit(main())
