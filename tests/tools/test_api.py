"""The reference pages: every name is there, every formula typeset, without a network."""

import re

import pytest
from bs4 import BeautifulSoup

import nflib_min
from tests.live.chromium import chromium, need
from tools import api

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("api")
    api.write_pages(out)
    return out


def test_every_public_name_has_its_place_and_its_words(site):
    soup = BeautifulSoup((site / "nflib_min.html").read_text("utf-8"), "html.parser")
    for name in nflib_min.__all__:
        place = soup.find(id=name)
        assert place and len(place.find(class_="docstring").get_text()) > 20, name


def test_the_pages_need_no_network_and_lead_to_each_other(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="([^"]{,99})', text)
        assert not [address for address in loaded if re.match("(https?:)?//", address)], page.name
        for address in re.findall(r'<a[^>]*href="(?!https?:)([^"#$]+)', text):
            assert (page.parent / address).resolve().exists(), (page.name, address)


def test_no_formula_stays_a_string_of_dollars(site):
    need("chromium", "npm")
    with chromium() as browser:
        for page in [*site.rglob("nflib_min*/*.html"), site / "nflib_min.html"]:
            tab = browser.new_page()
            tab.goto(page.as_uri())
            tab.evaluate("window.MathJax?.startup?.promise")
            words = "[...document.querySelectorAll('.docstring')].map(e => e.innerText).join(' ')"
            bad = "[...document.querySelectorAll('[data-mjx-error]')].map(e => e.textContent)"
            left = [f"{page.name}: {text}" for text in re.findall(r"\$.{40}", tab.evaluate(words))]
            assert left + tab.evaluate(bad) == []
            tab.close()
