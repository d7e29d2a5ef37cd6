"""Notebook 07's checks: what a person would type is judged, and nothing raises."""

import numpy as np
import pytest

from notebooks.exercises import when_flows_fail as exercises


@pytest.mark.parametrize(
    "answer",
    [
        ["pad", "fixed point", "z_0", "sign"],
        ("Pad", "fixed-point", "z0", "SIGN"),
        "pad, fixed point, z_0, sign",
        "1: pad, 2: fixed point, 3: z_0, 4: sign.",
        np.array(["pad", "fixed point", "z_0", "sign"]),
    ],
)
def test_four_diagnoses_are_accepted_as_a_person_types_them(answer, capsys):
    exercises.diagnoses(answer)
    assert capsys.readouterr().out == "correct\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not attempted"),
        ("pad", "expected four words, one for each report, got 1"),
        ("", "expected words out of"),
        (3, "expected words out of"),
        (["pad", "fold", "z_0", "sign"], "report 2"),
        (["sign", "fixed point", "z_0", "pad"], "report 1"),
        (["pad", "fixed point", "z_0", "prior"], "expected words out of"),
        (["pad", "fixed point", "no prior", "sign"], "report 3"),
        (["pad", "fixed point", "z_0", "fold"], "report 4"),
    ],
)
def test_other_diagnoses_get_a_hint(answer, said, capsys):
    exercises.diagnoses(answer)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda p, h: None, "not attempted"),
        (lambda p, h: np.log(p * (1 - h**2) + h**2), "correct"),
        (lambda p, h: np.log((1 - p) * h**2 + p), "correct"),
        (lambda p, h: -46.05, "expected ln"),
        (lambda p, h: np.log(1 + (p - 1) * (1 - h**2)), "expected -46.05"),
        (lambda p, h: np.log(1 + (p - 1) * (1 - h**2) + 1e-6), "expected ln"),
        (lambda p, h: p * (1 - h**2) + h**2, "expected the logarithm"),
        (lambda p, h: np.log(1 + p * (1 - h**2)), "expected c (1 - h^2)"),
        (lambda p, h: np.log(p + h**2), "expected (1 - h^2) beside"),
        (lambda p, h: 1 / 0, "expected ln(1 + c (1 - h^2)), one value a layer, got ZeroDiv"),
        (lambda p, h: "ln", "expected ln"),
    ],
)
def test_the_log_determinant(answer, said, capsys):
    exercises.log_det(answer)
    assert capsys.readouterr().out.startswith(said)


program = exercises.clock_program


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (program(False, False, False), "not attempted: log det and round trip and bound object"),
        (program(), "correct"),
        (program(constraint=False), "not yet: "),
        (program(slope=False), "not yet: log det objects"),
        (program(prior=False), "not yet: bound objects"),
        (program(slope=False, prior=False), "not yet: log det and bound object"),
        (lambda eps, *rest: None, "expected z_1"),
        (lambda eps, *rest: (eps, 0.0, 0.0), "expected z_1 (n, 2), log_det (n,) and F (n,)"),
        (lambda eps: eps, "expected z_1"),
        (lambda eps, mean, log_variance, u, w, b: identity(eps), "every law is silent, but"),
    ],
)
def test_repairs_silence_one_law_after_the_other(answer, said, capsys):
    exercises.repair(answer)
    assert capsys.readouterr().out.startswith(said)


def test_a_fold_is_called_by_its_law(capsys):
    exercises.repair(program(constraint=False))
    assert "round trip" in capsys.readouterr().out


def identity(eps):
    joint = exercises.log_likelihood(eps) + exercises.normal(eps)
    return eps, np.zeros(len(eps)), exercises.normal(eps) - joint


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda z, ld: None, "not attempted"),
        (lambda z, ld: ld - z + 0.5, "correct"),
        (lambda z, ld: ld - 0.25 * z**2 - 0.5 * np.log(0.5), "correct"),
        (lambda z, ld: ld - np.log1p(0.5 * np.sin(z)), "correct"),  # an odd factor averages to 1
        (lambda z, ld: ld, "expected a log-det that is wrong by"),
        (lambda z, ld: ld - 0.01 * z, "expected a log-det that is wrong by"),
        (lambda z, ld: ld + 1, "expected mass 1 for both maps, got 0.3679 and 0.3679"),
        (lambda z, ld: -ld, "expected mass 1"),
        (lambda z, ld: 0 * z, "expected mass 1"),
        (lambda z, ld: 0.5, "expected a log-det, shape (n,), finite, got shape ()"),
        (lambda z, ld: z / 0 * np.nan, "expected a log-det, shape (n,), finite"),
        (lambda z: z, "expected a log-det, shape (n,), got TypeError"),
        (lambda z, ld: "no", "expected a log-det, shape (n,), got ValueError"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_determinant_of_mass_one(answer, said, capsys):
    exercises.mass_is_blind(answer)
    assert capsys.readouterr().out.startswith(said)
