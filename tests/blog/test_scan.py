"""Which dollars are formulas and which are money, and that no text takes the scanner long."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbconvert_al_folio.scan import FIRST, MARK, scan

AMOUNTS = [
    *("$5", "$5.", "$10,", "($5)", "$1M", "$2.50", "$1,000", "US$20", "$240/yr", "$.50", "-$5"),
    *("**$5**", "*$5*", '"$5"', "~$5", "$5-$10", "$5–$10", "$5/$10", "<b>$5</b>", "[$5](u)"),
    *("$5와", "$5이고", "$20 per month,", "about $5 (or more)"),
]
BEHIND = ["5$와 6$", "5$ or 6$", "10$–20$"]  # nobody writes both ways in one sentence
FORMULAS = [
    *("x", "n=5", "p_1 < p_2", r"\alpha", "a b", "5", "0.5", r"2 \times 3", "x^2", "f(x)", "-1"),
    *("[0, 1)", r"\{a\}", "K", "5x + 1", r"10^{-3}", "|x|", "3 < n", r"\text{a word}"),
]
WORDS = ["set", "and", "costs", "in", "(see", "가격", "밀도", "of", "or", "users.", "Here", "—"]


def found(source: str) -> list[str]:
    return [formula.tex for formula in scan(source)[1]]


@pytest.mark.parametrize(
    ("source", "formulas"),
    [
        ("Between $1M and $2M. Set $n=5$ here.", ["n=5"]),
        ("A range $5-$10. Set $n=5$ here.", ["n=5"]),
        ("Prices ($5) and ($10), with $p_1 < p_2$.", ["p_1 < p_2"]),
        ("It costs $20 per month, i.e. $240/yr, for $n$ users.", ["n"]),
        ("$PATH and $x$", ["x"]),
        ("the $ sign and $x$", ["x"]),
        ("costs 5$, $x$", ["x"]),
        ("between $5$ and $10$", ["5", "10"]),
        ("sloppy $ x $ and $ 2 x $ and $\\theta $와 $x $는", ["x", "2 x", "\\theta", "x"]),
        ("a $3-$dimensional space, $2'$s", ["3-", "2'"]),
        ("2$\\times$3 and 10$x$", ["\\times", "x"]),
        ("| $5 | $x$ |", ["x"]),
    ],
)
def test_amounts_are_text(source, formulas):
    assert found(source) == formulas


@st.composite
def sentences(draw):
    """Amounts and formulas between words, each of them on its own."""
    pieces, formulas = [], []
    amounts = draw(st.sampled_from([AMOUNTS, AMOUNTS, AMOUNTS, BEHIND]))
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["amount", "formula"]))
        if kind == "amount":
            pieces.append(draw(st.sampled_from(amounts)))
        else:
            tex = draw(st.sampled_from(FORMULAS))
            spaced = draw(st.sampled_from(["${}$", "${}$", "(${}$)", "**${}$**"]))
            pieces.append(spaced.format(tex))
            formulas.append(tex)
        pieces.append(" ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))))
    return " ".join(pieces), formulas


@pytest.mark.slow
@settings(max_examples=500)
@given(sentence=sentences())
def test_every_formula_beside_money_is_found(sentence):
    source, formulas = sentence
    assert found(source) == formulas


@given(text=st.text(st.sampled_from("ab $\\{}`_^1\n<>&|-"), max_size=60))
def test_nothing_is_lost_in_a_scan(text):
    try:
        rest, formulas = scan(text)
    except ValueError:
        return
    assert MARK.sub(lambda m: formulas[ord(m[0]) - FIRST].source, rest) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        *("<!--" * 30_000, "<script " * 20_000, "<script>" * 15_000, "<" * 60_000, "*a_ " * 20_000),
        *("${" * 30_000, "\\$ $ " * 20_000, "$5 " * 30_000, "`` ` " * 20_000, "[a](" * 20_000),
    ],
    ids=lambda text: re.sub(r"\s", "_", text[:8]),
)
def test_time_grows_with_the_length(text):
    """Not with its square: ten times the steps for ten times the text, counted, not timed."""

    def steps(source: str) -> int:
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            count += 1

        sys.setprofile(trace)
        try:
            scan(source)
        except ValueError:
            pass
        finally:
            sys.setprofile(None)
        return count

    assert steps(text[:20_000]) < 15 * steps(text[:2_000]) + 1_000
