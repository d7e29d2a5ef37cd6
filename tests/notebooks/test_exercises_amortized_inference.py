"""The checks of notebook 05: slips are named, a person's way of typing passes, nothing raises."""

import numpy as np
import pytest

from notebooks.exercises import amortized_inference as exercises


def planted(log_joint, log_q0, log_det):
    return np.log(np.sum(np.exp(log_joint - log_q0 - log_det)))


def averaged(log_joint, log_q0, log_det):
    return np.log(np.mean(np.exp(log_joint - log_q0 + log_det)))


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.blind, lambda tau: None, "not attempted"),
        (exercises.blind, lambda tau: 1 / (2 * tau**2), "correct"),
        (exercises.blind, lambda tau: np.array(0.5) / tau**2, "correct"),
        (exercises.blind, lambda tau: 2.0, "expected a number"),
        (exercises.blind, lambda tau: "half", "expected a number"),
        (exercises.blind, lambda: 1.0, "expected a number of nats, got TypeError"),
        (exercises.blind, lambda tau: 1 / tau**2, "expected half"),
        (exercises.blind, lambda tau: np.log(1 + 1 / tau**2) / 2, "expected the mean of KL[q"),
        (exercises.blind, lambda tau: 1 / (2 + 2 * tau**2), "expected the distance"),
        (exercises.blind, lambda tau: 0.5 / tau**2 + 1e-5, "expected a number"),
        (exercises.repaired, planted, "not attempted"),
        (exercises.repaired, averaged, "still to repair: e^-1000 is 0"),
        (
            exercises.repaired,
            lambda j, q, d: np.log(np.mean(np.exp(j - q - d))),
            "still to repair: ln q_K = ln q_0 - log_det, and q_K stands below the fraction line; "
            "e^-1000",
        ),
        (exercises.repaired, lambda j, q, d: np.mean(j - q + d), "expected the log of the mean"),
        (exercises.repaired, lambda j, q, d: -1.3, "expected (N5) in logarithms"),
        (exercises.repaired, lambda j, q: j, "expected (N5) in logarithms, a number, got TypeErr"),
        (exercises.plateau, lambda m, share: None, "not attempted"),
        (
            exercises.plateau,
            lambda m, share: (np.log((1 - share) / (1 - m)), -np.log(2) / np.log(1 - share)),
            "correct",
        ),
        (
            exercises.plateau,
            lambda m, share: [-np.log(1 - m), -np.log(2) / np.log(1 - share)],
            "almost",
        ),
        (
            exercises.plateau,
            lambda m, share: [np.log((1 - share) / (1 - m)), 1 / share],
            "expected the S for which (1 - share)^S is one half, got the mean",
        ),
        (exercises.plateau, lambda m, share: [0.22, 693.0], "expected [nats, draws]"),
        (exercises.plateau, lambda m, share: 0.22, "expected [nats, draws]"),
        (exercises.variances, lambda beta, tau: None, "not attempted"),
        (exercises.variances, lambda beta, tau: [2.0, 0.2 / 8.2], "expected two variances"),
        (
            exercises.variances,
            lambda beta, tau: (1 / (1 + 1 / (beta * tau**2)), 1 / (beta + beta / tau**2)),
            "the other way round",
        ),
        (
            exercises.variances,
            lambda beta, tau: [beta * (1 + 1 / tau**2), 1 + 1 / (beta * tau**2)],
            "those are precisions",
        ),
        (exercises.variances, lambda beta, tau: [1, [2, 3]], "expected two variances"),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)
