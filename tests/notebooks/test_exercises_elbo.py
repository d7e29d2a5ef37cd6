"""The first notebook's checks: what a person would type is judged, and nothing raises."""

import numpy as np
import pytest

from notebooks.exercises import elbo as exercises


@pytest.mark.parametrize("answer", ["BD", "b,d", "B, D", "D B.", "B and D", ["B", "D"], {"d", "b"}])
def test_the_two_bugs_are_accepted_as_a_person_types_them(answer, capsys):
    exercises.bugs(answer)
    assert capsys.readouterr().out == "correct\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not attempted"),
        ("B", "one more"),
        ("", "one more"),
        ("A, B, D", "A is above the floor"),
        ("BCD", "C is positive"),
        ("BDE", "E is about densities"),
        ("BD?", "expected letters from A to E, got '?'"),
        (3, "expected letters from A to E, got '3'"),
    ],
)
def test_other_letters_get_a_hint(answer, said, capsys):
    exercises.bugs(answer)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.gap, lambda D, s: None, "not attempted"),
        (exercises.gap, lambda D, s: 2.4981, "expected (N2)"),
        (exercises.gap, lambda D, s: 1 / 0, "expected (N2) for this precision, got ZeroDivision"),
        (exercises.gap, lambda D, s: "much", "expected (N2)"),
        (exercises.gap, lambda D, s: D * np.log(1 + s**-2) - np.log(1 + D / s**2), "expected half"),
        (exercises.gap, lambda: 1, "expected (N2) for this precision, got TypeError"),
        (exercises.with_baseline, lambda w, g: (w - w.mean()) * g, "expected the OTHER"),
        (exercises.with_baseline, lambda w, g: (w - (w.sum() - w) / 5) * g, "expected (ln w_i"),
        (exercises.with_baseline, lambda w, g: w * g, "expected a baseline"),
        (exercises.least_variance, lambda P: 0.5, "expected a number"),
        (exercises.least_variance, lambda P: 0.5 / np.diag(P).min(), "expected any direction"),
        (exercises.least_variance, lambda P: 1 / np.linalg.eigvalsh(P)[0], "expected half"),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)
