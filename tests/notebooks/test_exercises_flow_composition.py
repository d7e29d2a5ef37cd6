"""The third notebook's checks: what a person would type is judged, and nothing raises."""

import numpy as np
import pytest

from notebooks.exercises import flow_composition as exercises


@pytest.mark.parametrize(
    "answer",
    [
        ([2, 0], [10, 0], 0),
        ((0.0, -3.0), (0.0, -8.0), 0.0),
        [np.array([1.0, 1.0]), np.array([10.0, 10.0]), np.array(0.0)],
        ([9.0, 1.0], [1e9, 0.0], 0.0),
    ],
)
def test_any_layer_that_makes_two_equal_modes_is_right(answer, capsys):
    exercises.two_modes(answer)
    assert capsys.readouterr().out.startswith("correct")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not attempted"),
        (3, "expected (u, w, b)"),
        ("up", "expected (u, w, b)"),
        (([2, 0], [10, 0]), "expected (u, w, b)"),
        (([2, 0, 1], [10, 0], 0), "expected (u, w, b)"),
        (([2, np.nan], [10, 0], 0), "expected (u, w, b)"),
        (([-2, 0], [10, 0], 0), "expected w.u > -1, got -20"),
        (([2, 0], [0, 0], 0), "expected w other than 0"),
        (([0.1, 0], [1, 0], 0), "expected two modes, got one"),
        (([-0.05, 0], [10, 0], 0), "expected two modes, got one"),
        (([2, 0], [10, 0], 100), "expected two modes, got one"),
        (([2, 0], [10, 0], 1), "expected two modes of the same height"),
        (([2, 0], [2, 0], 0), "expected a valley below a tenth"),
    ],
)
def test_other_layers_get_a_hint(answer, said, capsys):
    exercises.two_modes(answer)
    assert capsys.readouterr().out.startswith(said)


def halving(z):
    return -np.log(1 + np.tanh(z[:, 0]) / 2)


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.least_kl, lambda C: None, "not attempted"),
        (exercises.least_kl, lambda C: 0.9014, "expected (N5)"),
        (exercises.least_kl, lambda C: C, "expected (N5)"),
        (exercises.least_kl, lambda C: np.log(d := np.linalg.det(C)) + 1 / d - 1, "expected areas"),
        (exercises.least_kl, lambda C: 1 / 0, "expected (N5) for two exponential densities of the"),
        (exercises.inverse_radius, lambda R, alpha, beta: None, "not attempted"),
        (exercises.inverse_radius, lambda R, alpha, beta: 0.5, "expected the root of a quadratic"),
        (
            exercises.inverse_radius,
            lambda R, alpha, beta: R - beta * R / (alpha + R),
            "expected the push at r",
        ),
        (exercises.wrong_log_det, lambda z: None, "not attempted"),
        (exercises.wrong_log_det, halving, "correct"),
        (exercises.wrong_log_det, lambda z: 0 * z[:, 0], "expected a wrong log-determinant"),
        (exercises.wrong_log_det, lambda z: 0 * z[:, 0] + 0.5, "expected a mass of 1, got 0.6065"),
        (exercises.wrong_log_det, lambda z: np.tanh(z[:, 0]), "expected a mass of 1"),
        (exercises.wrong_log_det, lambda z: z, "expected finite numbers of shape (n,)"),
        (exercises.wrong_log_det, lambda z: z[:, 0] / 0 * 0, "expected finite numbers"),
        (exercises.wrong_log_det, lambda z: "much", "expected one number a row of z"),
        (exercises.wrong_log_det, lambda: 1, "expected one number a row of z, got TypeError"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)


def test_a_fixed_point_iteration_does_not_invert_a_radial_layer(capsys):
    def iterated(R, alpha, beta):
        r = R
        for _ in range(500):
            r = R - beta * r / (alpha + r)
        return r

    exercises.inverse_radius(iterated)
    assert capsys.readouterr().out.startswith("expected")
