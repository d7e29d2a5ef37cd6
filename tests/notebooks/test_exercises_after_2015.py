"""The eighth notebook's checks: what a person would type is judged, and nothing raises."""

import numpy as np
import pytest
from autograd import jacobian

from notebooks.exercises import after_2015 as exercises


def by_the_large_matrix(U, W, slopes):
    matrices = np.eye(len(U)) + U @ (slopes[:, :, None] * W)
    return np.linalg.slogdet(matrices)[1]


def width(m, s):
    return (1 + m**2) / (2 * s**2) + (s**2 + m**2) / 2 - 1


def velocity(z, t, m, s):
    """z_t with the same rank among Gaussians as z has: the derivative of t m + sd(t) x by t."""

    def sd(t):
        return ((1 - t) ** 2 + t**2 * s**2) ** 0.5

    return m + jacobian(sd)(t) * (z - t * m) / sd(t)


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.log_det_sylvester, lambda *a: None, "not attempted"),
        (exercises.log_det_sylvester, by_the_large_matrix, "correct"),
        (
            exercises.log_det_sylvester,
            lambda *a: np.exp(by_the_large_matrix(*a)),
            "expected ln|det|, got |det|",
        ),
        (
            exercises.log_det_sylvester,
            lambda U, W, h: np.linalg.slogdet(np.eye(len(W)) + W @ U)[1] + 0 * h[:, 0],
            "expected the slopes",
        ),
        (exercises.log_det_sylvester, lambda U, W, h: U @ h, "expected ln|det J| by (N1)"),
        (exercises.log_det_sylvester, lambda U: 0, "expected ln|det J| by (N1) at each point, sh"),
        (exercises.width, lambda m, s: None, "not attempted"),
        (exercises.width, width, "correct"),
        (exercises.width, lambda m, s: -width(m, s), "expected EUBO minus ELBO, got ELBO"),
        (
            exercises.width,
            lambda m, s: np.log(s) + (1 + m**2) / (2 * s**2) - 0.5,
            "expected the gap above",
        ),
        (exercises.width, lambda m, s: s**2 - 1, "expected EUBO minus ELBO in nats"),
        (exercises.velocity, lambda *a: None, "not attempted"),
        (exercises.velocity, velocity, "correct"),
        (exercises.velocity, lambda z, t, m, s: m - z, "expected E[z_1 - z_0 | z_t = z]"),
        (exercises.velocity, lambda z, t, m, s: m + 0 * z, "expected a velocity that depends"),
        (exercises.velocity, lambda z, t, m, s: velocity(z, t, m, s) - m, "expected the mean m"),
        (exercises.velocity, lambda z, t, m, s: z["a"], "expected E[z_1 - z_0 | z_t = z], the"),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)


def test_the_mean_velocity_is_that_of_draws():
    rng, (t, m, s) = np.random.default_rng(0), (0.6, 1.5, 0.5)
    z_0, z_1 = rng.standard_normal(400_000), m + s * rng.standard_normal(400_000)
    near = np.abs((1 - t) * z_0 + t * z_1 - 1.2) < 0.02
    assert (z_1 - z_0)[near].mean() == pytest.approx(velocity(1.2, t, m, s), abs=0.05)
