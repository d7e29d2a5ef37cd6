"""The second notebook's checks: what a person would type is judged, and nothing raises."""

import numpy as np
import pytest
from autograd import jacobian

from nflib_min import StandardNormal, checks
from nflib_min.planar import invert_layer, planar_layer
from nflib_min.radial import radial_layer
from notebooks.exercises import change_of_variables as exercises


def log_chi2(y):
    """The logarithm of the chi-squared density with one degree of freedom."""
    return -y / 2 - np.log(2 * np.pi * y) / 2


def log_det_radial(r, alpha, beta, d):
    return radial_layer(np.zeros(d), alpha, beta, np.outer(r, np.eye(d)[0]))[1]


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.log_square, lambda y: None, "not attempted"),
        (exercises.log_square, log_chi2, "correct"),
        (exercises.log_square, lambda y: log_chi2(y) - np.log(2), "expected two shares, got one"),
        (exercises.log_square, lambda y: np.exp(log_chi2(y)), "expected ln q_K, got q_K"),
        (exercises.log_square, lambda y: -y / 2 - np.log(y) / 2, "expected -ln(2 pi) / 2"),
        (exercises.log_square, lambda y: -y / 2 - np.log(2 * np.pi) / 2, "expected a division"),
        (exercises.log_square, lambda y: log_chi2(y)[:, None], "expected ln q_K(z_K) by (N2)"),
        (exercises.log_square, lambda y: y[99], "expected ln q_K(z_K) by (N2), shape (n,), got In"),
        (exercises.log_square, lambda: 0, "expected ln q_K(z_K) by (N2), shape (n,), got TypeEr"),
        (exercises.log_det_radial, lambda *a: None, "not attempted"),
        (exercises.log_det_radial, log_det_radial, "correct"),
        (exercises.log_det_radial, lambda r, a, b, d: log_det_radial(r, a, b, 4), "expected ln"),
        (exercises.log_det_radial, lambda r, a, b, d: log_det_radial(r, a, b, 1), "expected the d"),
        (exercises.log_det_radial, lambda r, a, b, d: log_det_radial(r, a, b, 2), "expected d - 1"),
        (
            exercises.log_det_radial,
            lambda r, a, b, d: d * np.log(1 + b / (a + r)),
            "expected another stretch",
        ),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("wrong", "unseen", "said"),
    [
        ("A, B, D", "B", "correct"),
        ("abd", "b", "correct"),
        (["D", "B", "A"], ["B"], "correct"),
        ("A, B and D.", "B", "correct"),
        (None, None, "not attempted"),
        ("A, D", "D", "wrong: expected one more"),
        ("A, B, D", None, "unseen: expected the letter"),
        (None, "B", "wrong: expected one more"),
        ("A, B, D", "D", "unseen: the density that D gives has mass 1.64"),
        ("A, B, C, D", "B", "C agrees"),
        ("A, B, D", "C", "C agrees"),
        (3, "B", "wrong, unseen: expected letters from A to D, got '3'"),
    ],
)
def test_the_planted_determinants_are_judged_as_a_person_names_them(wrong, unseen, said, capsys):
    exercises.planted(wrong, unseen)
    assert capsys.readouterr().out.startswith(said)


def layer(z):
    return planar_layer(exercises.U, exercises.W, 0.0, z[None])[0][0]


def test_the_claims_are_what_the_check_says_of_them():
    u, w = exercises.U, exercises.W
    z_0 = np.random.default_rng(0).standard_normal((20, 2))
    true = [abs(np.linalg.det(jacobian(layer)(z))) for z in z_0]
    right = {c for c, claim in exercises.claims.items() if np.allclose(claim(z_0), true)}
    assert right == {"C"}
    base, c = StandardNormal(2), w @ u

    def log_q(claim):
        def at(z_K):
            z_0, _ = invert_layer(u, w, 0.0, c, 1 + c, z_K)
            return base.log_prob(z_0) - np.log(claim(z_0))

        return at

    masses = {
        letter: checks.total_mass(log_q(claim), (-10.0, 10.0), 300)
        for letter, claim in exercises.claims.items()
    }
    wanted = {"A": 0.93, "B": 1.0, "C": 1.0, "D": 1.64}
    assert masses == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not attempted"),
        ((1.9, 50), "correct"),
        ([-1.9, -50], "correct"),
        (np.array([1.8, 40.0]), "correct"),
        ((2, 25), "expected modes at -2 and 2, got -2.21 and 2.21"),
        ((1.75, 20), "expected 50 times less sand in the middle, got 34.7"),
        ((1.0, 0.2), "expected two modes, got 1"),
        ((2, -25), "expected w u > -1, got -50: the line folds"),
        ((0, 0), "expected two modes, got 1"),
        ("wide", "expected two numbers (u, w)"),
        ((1, 2, 3), "expected two numbers (u, w)"),
        ((np.nan, 1), "expected two numbers (u, w)"),
        (7, "expected two numbers (u, w), got 7"),
    ],
)
def test_any_map_that_makes_the_two_modes_is_accepted(answer, said, capsys):
    exercises.two_modes(answer)
    assert capsys.readouterr().out.startswith(said)
