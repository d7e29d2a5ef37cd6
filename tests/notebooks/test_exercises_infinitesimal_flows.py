"""The fourth notebook's checks: every slip is named, and nothing raises."""

import numpy as np
import pytest

from notebooks.exercises import infinitesimal_flows as exercises


def leapfrog(first=-1, drift="half", second=-1, at="new", kick=0.5):
    """A leapfrog step with any of its parts replaced."""

    def step(z, omega, grad_L, epsilon):
        half = omega + first * kick * epsilon * grad_L(z)
        z_new = z + epsilon * (half if drift == "half" else omega)
        return z_new, half + second * kick * epsilon * grad_L(z_new if at == "new" else z)

    return step


def symplectic_euler(z, omega, grad_L, epsilon):
    omega = omega - epsilon * grad_L(z)
    return z + epsilon * omega, omega


def position_first(z, omega, grad_L, epsilon):
    z = z + epsilon / 2 * omega
    omega = omega - epsilon * grad_L(z)
    return z + epsilon / 2 * omega, omega


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (leapfrog(), "correct"),
        (leapfrog(first=1, drift="old", at="old"), "not attempted: it still has"),
        (lambda *given: None, "not attempted\n"),
        (leapfrog(first=1), "expected (N10) for short steps"),
        (leapfrog(first=1, second=1), "expected (N10) for short steps"),
        (leapfrog(kick=1), "expected (N10) for short steps"),
        (leapfrog(drift="old"), "expected areas to stay"),
        (leapfrog(at="old"), "expected areas to stay"),
        (leapfrog(drift="old", at="old"), "expected areas to stay"),
        (symplectic_euler, "expected to return"),
        (position_first, "expected kick, drift, kick"),
        (lambda z, omega, grad_L, epsilon: (z, 1 / 0), "expected (z, omega) after one step, got Z"),
        (lambda z, omega, grad_L, epsilon: z, "expected (z, omega) after one step, got V"),
        (lambda z: z, "expected (z, omega) after one step, got T"),
    ],
)
def test_a_leapfrog_is_judged_by_its_laws(answer, said, capsys):
    exercises.leapfrog(answer)
    assert (capsys.readouterr().out).startswith(said)


def sigma2(t, s0):
    return 1 + (s0**2 - 1) * np.exp(-2 * t)


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (exercises.y_at, lambda y0, c, t: None, "not attempted"),
        (exercises.y_at, lambda y0, c, t: np.arcsinh(np.exp(c * t) * np.sinh(y0)), "correct"),
        (exercises.y_at, lambda y0, c, t: y0 + c * t * np.tanh(y0), "expected the limit"),
        (exercises.y_at, lambda y0, c, t: y0 * np.exp(c * t), "expected a solution for every y"),
        (exercises.y_at, lambda y0, c, t: np.arcsinh(np.exp(-c * t) * np.sinh(y0)), "expected e^"),
        (exercises.y_at, lambda y0, c, t: np.exp(c * t) * np.sinh(y0), "expected y(t), got sinh"),
        (exercises.y_at, lambda y0, c, t: 1 / 0, "expected y(t), from sinh(y), got ZeroDivision"),
        (exercises.y_at, lambda y0, c, t: "long", "expected y(t), from sinh(y), got 'long'"),
        (exercises.y_at, lambda y0, c, t: [-0.5, 0.05, 0.28], "expected y(t)"),
        (exercises.quiet_velocity, lambda z, t, s0: -z + z / sigma2(t, s0), "correct"),
        (exercises.quiet_velocity, lambda z, t, s0: -z, "expected two terms"),
        (exercises.quiet_velocity, lambda z, t, s0: -z - z / sigma2(t, s0), "expected mass to"),
        (exercises.quiet_velocity, lambda z, t, s0: -z + z / s0**2, "expected the variance at"),
        (exercises.quiet_velocity, lambda z: z, "expected -grad L - grad ln q_t, got TypeError"),
        (exercises.resting_variance, lambda dt, c: 1 / (c * (1 - c * dt / 2)), "correct"),
        (exercises.resting_variance, lambda dt, c: 1.0526315789, "expected the v that a step"),
        (exercises.resting_variance, lambda dt, c: 1 / c, "expected the variance for steps"),
        (exercises.resting_variance, lambda dt, c: 2 / c, "expected the factor squared"),
        (exercises.resting_variance, lambda dt, c: (1 + c * dt / 2) / c, "expected all orders"),
        (exercises.resting_variance, lambda dt, c: 1 / (c * (2 - c * dt)), "expected noise of"),
    ],
)
def test_slips_are_named_and_nothing_raises(check, answer, said, capsys):
    check(answer)
    assert capsys.readouterr().out.startswith(said)
