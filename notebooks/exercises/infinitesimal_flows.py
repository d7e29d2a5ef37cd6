"""The checks of the fourth notebook's exercises.

Each prints "not attempted", "correct", or what is wrong.
"""

from collections.abc import Callable

import numpy as np

from notebooks.exercises.judge import judge


def y_at(answer: Callable) -> None:
    """Exercise 1: the solution of dy/dt = c tanh(y)."""
    slips = {
        "correct: sinh(y) grows like e^(c t), so order is kept for ever": lambda y0, c, t: (
            np.arcsinh(np.exp(c * t) * np.sinh(y0))
        ),
        "expected the limit, got one step of Euler's method": lambda y0, c, t: (
            y0 + c * t * np.tanh(y0)
        ),
        "expected the value at time t, got the one at time 1": lambda y0, c, t: np.arcsinh(
            np.exp(c) * np.sinh(y0)
        ),
        "expected y(t), got sinh(y(t)): take the inverse function at the end": lambda y0, c, t: (
            np.exp(c * t) * np.sinh(y0)
        ),
        "expected a solution for every y, got that of dy/dt = c y": lambda y0, c, t: (
            y0 * np.exp(c * t)
        ),
        "expected e^(c t), got e^(-c t): the sign of c": lambda y0, c, t: np.arcsinh(
            np.exp(-c * t) * np.sinh(y0)
        ),
    }
    y0 = np.array([-1.5, 0.2, 1.0])
    judge(answer, [(y0, -2.0, 0.7), (y0[:2], 0.8, 1.3)], slips, "y(t), from sinh(y)")


def quiet_velocity(answer: Callable) -> None:
    """Exercise 2: the velocity that has the densities of the Ornstein-Uhlenbeck process."""

    def variance(t, s0):
        return 1 + (s0**2 - 1) * np.exp(-2 * t)

    slips = {
        "correct: grains are stretched by sigma_t / sigma_0; on the crescents ln q_t is unknown": (
            lambda z, t, s0: -z + z / variance(t, s0)
        ),
        "expected two terms, got the drift alone: what the noise does is missing": (
            lambda z, t, s0: -z
        ),
        "expected mass to move from high q to low q: the sign of the second term": (
            lambda z, t, s0: -z - z / variance(t, s0)
        ),
        "expected the variance at time t, got the one at the start": (
            lambda z, t, s0: -z + z / s0**2
        ),
        "expected a variance below, got a standard deviation: ln q_t = -z^2 / (2 sigma_t^2)": (
            lambda z, t, s0: -z + z / variance(t, s0) ** 0.5
        ),
    }
    z = np.array([-1.0, 0.3, 2.0])
    judge(answer, [(z, 0.4, 0.5), (z[:2], 0.9, 2.0)], slips, "-grad L - grad ln q_t")


def resting_variance(answer: Callable) -> None:
    """Exercise 3: the variance v = (1 - lambda dt)^2 v + 2 dt at which Euler-Maruyama rests."""
    slips = {
        "correct: 1 / (lambda (1 - lambda dt / 2)), so a step of 0.095 is 5% off at lambda = 1": (
            lambda dt, c: 1 / (c * (1 - c * dt / 2))
        ),
        "expected the variance for steps of dt, got that of the limit": lambda dt, c: 1 / c,
        "expected a variance, got a standard deviation": (
            lambda dt, c: (1 / (c * (1 - c * dt / 2))) ** 0.5
        ),
        "expected the factor squared: the variance of (1 - lambda dt) z": (
            lambda dt, c: 2 * dt / (1 - (1 - c * dt))
        ),
        "expected noise of variance 2 dt, got dt": lambda dt, c: 0.5 / (c * (1 - c * dt / 2)),
        "expected all orders of dt, got the first": lambda dt, c: (1 + c * dt / 2) / c,
    }
    points = [(0.1, 1.0), (0.5, 1.0), (0.2, 3.0)]
    judge(answer, points, slips, "the v that a step leaves as it is")


def leapfrog(answer: Callable) -> None:
    """Exercise 4: one step of leapfrog, by its laws."""
    rng = np.random.default_rng(0)
    places = [rng.normal(size=(2, 5)), rng.normal(size=(2, 4, 2))]
    forces = [lambda z: z**3 - z, lambda z: 2 * z]
    try:
        said = [verdict(answer, *place, f) for place in places for f in forces]
    except Exception as error:  # a reader's function may fail in any way
        print(f"expected (z, omega) after one step, got {type(error).__name__}: {error}")
        return
    wrong = [text for text in said if text]
    print(wrong[0] if wrong else "correct: half a kick, a drift, half a kick from the new place")


def mistaken(z, omega, grad_L, epsilon):
    """The step as the exercise gives it."""
    half = omega + epsilon / 2 * grad_L(z)
    return z + epsilon * omega, half - epsilon / 2 * grad_L(z)


def right(z, omega, grad_L, epsilon):
    """The step as it should be."""
    half = omega - epsilon / 2 * grad_L(z)
    z = z + epsilon * half
    return z, half - epsilon / 2 * grad_L(z)


def verdict(step: Callable, z: np.ndarray, omega: np.ndarray, grad_L: Callable) -> str:
    """The first law that a step breaks, or nothing."""

    def taken(z, omega, epsilon):
        after = step(z.copy(), omega.copy(), grad_L, epsilon)
        if after is None:
            return None
        after = np.asarray(after, dtype=float)
        if after.shape != (2, *z.shape):
            raise ValueError(f"shape {after.shape} in place of {(2, *z.shape)}")
        return after

    after = taken(z, omega, 0.3)
    if after is None:
        return "not attempted"
    if np.allclose(after, mistaken(z, omega, grad_L, 0.3), rtol=0, atol=1e-9):
        return "not attempted: it still has all three mistakes"
    speed = (taken(z, omega, 1e-5) - np.stack([z, omega])) / 1e-5
    for name, got, wanted in (("z", speed[0], omega), ("omega", speed[1], -grad_L(z))):
        if not np.allclose(got, wanted, rtol=0, atol=1e-3):
            return f"expected (N10) for short steps, got another d{name}/dt: look at the signs"
    h, J = 1e-5, np.empty((2, 2, *z.shape))  # of each coordinate with its momentum
    for j, (dz, dm) in enumerate(((h, 0.0), (0.0, h))):
        ahead, behind = taken(z + dz, omega + dm, 0.3), taken(z - dz, omega - dm, 0.3)
        J[:, j] = (ahead - behind) / (2 * h)
    volume = J[0, 0] * J[1, 1] - J[0, 1] * J[1, 0]
    if not np.allclose(volume, 1, rtol=0, atol=1e-6):
        off = volume.flat[np.argmax(abs(volume - 1))]
        return f"expected areas to stay, got one that is {off:.2f} times as large: an old value?"
    if not np.allclose(taken(*after, -0.3), np.stack([z, omega]), rtol=0, atol=1e-9):
        return "expected to return with -epsilon; the areas are right, the halves are not"
    if not np.allclose(after, right(z, omega, grad_L, 0.3), rtol=0, atol=1e-9):
        return "expected kick, drift, kick, got another reversible step that keeps areas"
    return ""
