"""A page with all live figures in both languages, for looking: python -m live demo."""

from pathlib import Path

import live

PAGE = """<!DOCTYPE html>
<html lang="{lang}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="{policy}">
<style>
body{{font:17px/1.6 system-ui,sans-serif;max-width:50rem;margin:0 auto;padding:1rem}}
body{{background:#fff;color:#222}} figure{{margin:1.5rem 0}} img{{max-width:100%}}
@media(prefers-color-scheme:dark){{body{{background:#1c1c1d;color:#e4e4e6}}}}
</style>
</head><body><main><h1>{title}</h1>
{figures}
</main></body></html>
"""
# as strict as al-folio's: inline scripts, images as data, nothing else from anywhere
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
TITLES = {"en": "Let the reader move it", "ko": "독자가 직접 움직이는 그림"}


def page(lang: str, *names: str, **options) -> str:
    """One page with some of the figures."""
    names = names or live.FIGURES
    figures = "\n".join(
        f'<figure><img src="{PIXEL}" alt="A picture.">'
        f"{live.place(live.describe(name, **options), lang)}</figure>"
        for name in names
    )
    figures += live.program(*dict.fromkeys(names))
    return PAGE.format(lang=lang, title=TITLES[lang], policy=POLICY, figures=figures)


# one white pixel
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7bu"
    "VgAAAABJRU5ErkJggg=="
)


def write(folder: Path) -> list[Path]:
    """index.html and ko.html, with everything in them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {lang: folder / name for lang, name in (("en", "index.html"), ("ko", "ko.html"))}
    for lang, file in files.items():
        file.write_text(page(lang), encoding="utf-8")
    return list(files.values())
