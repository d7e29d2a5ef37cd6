"""Mutation tests: thirteen mistakes are planted, and the laws of `checks` must notice each."""

import numpy as np
import pytest

from nflib_min import checks
from nflib_min.targets import U2, U3, U4, table_1
from notebooks import mistakes
from notebooks.mistakes import COMMON_CHECKS, LAWS, MISTAKES, VariationalProgram

pytestmark = pytest.mark.slow

# the table of notebook 07: which laws notice which mistake
NOTICED = {
    "sign of the log-det": {"mass", "bound"},
    "log-det at the output": {"log det", "mass"},
    "|w| for |w|^2": {"round trip", "mass"},
    "no constraint": {"round trip", "mass"},
    "precedence of **": {"log det", "mass", "bound"},
    "det for its log": {"log det", "mass", "bound"},
    "1e-6 in the log": {"log det"},
    "z_0 for z_K": {"bound"},
    "closed-form KL(q_0)": {"bound"},
    "posterior for prior": {"new data"},
    "sigma for ln sigma^2": {"log det", "mass", "bound"},
    "fixed-point inverse": {"round trip", "mass"},
    "energy without a Z": {"bound", "finite Z"},
}
OF_THE_MAP = {"round trip", "log det"}


@pytest.fixture(scope="module")
def runs():
    programs = {"correct": VariationalProgram()} | {
        name: wrong() for name, wrong in MISTAKES.items()
    }
    return {name: (program, program.train()) for name, program in programs.items()}


@pytest.fixture(scope="module")
def errors(runs):
    return {name: mistakes.run_checks(*run) for name, run in runs.items()}


def test_the_correct_program_passes_every_check(errors):
    assert errors["correct"].keys() == COMMON_CHECKS.keys() | LAWS.keys()
    assert mistakes.failed(errors["correct"]) == {}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_noticed_by_the_laws_that_the_notebook_names(errors, name):
    assert mistakes.failed(errors[name]).keys() == NOTICED[name]


@pytest.mark.parametrize("name", MISTAKES)
def test_popular_checks_notice_nothing(runs, errors, name):
    """The loss falls by a tenth of a nat or more, and autograd's gradient is right."""
    loss = runs[name][1].history["loss"]
    assert loss[-25:].mean() < loss[:25].mean() - 0.1
    assert not mistakes.failed(errors[name]).keys() & COMMON_CHECKS.keys()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_wrong_method(name):
    changed = [key for key in vars(MISTAKES[name]) if not key.startswith("__")]
    assert len(changed) == 1 and hasattr(VariationalProgram, changed[0])
    assert MISTAKES[name].__bases__ == (VariationalProgram,)


# each law, what a blind one would answer, and a mistake that it notices
BLIND = {
    "round trip": ("round_trip_error", lambda *_: 0.0, "no constraint"),
    "log det": (
        "log_det_by_autodiff",
        lambda f, params, z0: f.forward_and_log_det(params, z0)[1],
        "1e-6 in the log",
    ),
    "mass": ("total_mass", lambda *_: 1.0, "sign of the log-det"),
    "bound": ("check_bound", lambda *_: (0.0, 0.0), "z_0 for z_K"),
    "finite Z": ("mass_growth", lambda *_: 0.0, "energy without a Z"),
    "new data": ("moment_gap", lambda *_: 0.0, "posterior for prior"),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_law_that_is_broken_leaves_a_gap_in_the_table(runs, monkeypatch, law):
    function, blind, witness = BLIND[law]
    monkeypatch.setattr(checks, function, blind)
    alarms = mistakes.failed(mistakes.run_checks(*runs[witness]))
    assert law in NOTICED[witness] and alarms.keys() == NOTICED[witness] - {law}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [n for n, laws in NOTICED.items() if laws & OF_THE_MAP])
def test_laws_of_the_map_bite_at_any_probe(name, seed):
    """`check_bijection` names the law, wherever the probe points."""
    rng = np.random.default_rng(seed)
    program, eps = MISTAKES[name](), rng.standard_normal((100, 2))
    (law,) = NOTICED[name] & OF_THE_MAP
    with pytest.raises(AssertionError, match=f"law '{law}', got"):
        checks.check_bijection(program, program.probe(rng), eps)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_correct_map_obeys_them_at_any_probe(seed):
    rng = np.random.default_rng(seed)
    program, eps = VariationalProgram(), rng.standard_normal((100, 2))
    params = program.probe(rng)
    assert max(checks.check_bijection(program, params, eps).values()) < 1e-8
    mass = checks.total_mass(lambda z: program.log_prob(params, z), (-20.0, 20.0), 800)
    assert mass == pytest.approx(1, abs=1e-3)


def test_the_probe_is_what_makes_the_constraint_matter():
    """At the start no w.u is anywhere near -1, and the missing constraint is not noticed."""
    rng = np.random.default_rng(0)
    program, eps = MISTAKES["no constraint"](), rng.standard_normal((100, 2))
    assert max(checks.check_bijection(program, program.init(rng), eps).values()) < 1e-8


def test_the_correct_program_comes_close_to_the_posterior(runs):
    program, run = runs["correct"]
    z, _ = program.forward_and_log_det(
        run.params, np.random.default_rng(0).standard_normal((20_000, 2))
    )
    posterior = program.model.posterior
    assert z.mean(axis=0) == pytest.approx(posterior.mean, abs=0.15)
    assert np.cov(z.T) == pytest.approx(posterior.covariance, abs=0.15)


# ------------------------------------------------------------------- two laws used here alone
@pytest.mark.parametrize(("energy", "name"), [(U2, "U2"), (U3, "U3"), (U4, "U4")])
def test_mass_growth_tells_an_improper_energy_from_its_walled_version(energy, name):
    assert checks.mass_growth(lambda z: -energy(z)) == pytest.approx(np.log(2), abs=0.02)
    assert checks.mass_growth(table_1(name).log_density) == pytest.approx(0, abs=1e-9)


def test_mass_growth_counts_the_flat_coordinates():
    for flat in range(3):
        growth = checks.mass_growth(lambda z, j=flat: -0.5 * (z[:, j:] ** 2).sum(axis=1))
        assert growth == pytest.approx(flat * np.log(2), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_moment_gap_accepts_one_law_and_no_other(seed):
    rng = np.random.default_rng(seed)
    z, same = rng.standard_normal((2, 4000, 3))
    assert checks.moment_gap(z, same) < 5
    assert checks.moment_gap(z, same[:1000]) < 5  # the numbers of draws may differ
    assert checks.moment_gap(z + 0.2, same) > 5
    assert checks.moment_gap(1.2 * z, same) > 5
    turned = same @ np.array([[1.0, 0.0, 0.0], [0.3, 0.95, 0.0], [0.0, 0.0, 1.0]])
    assert checks.moment_gap(z, turned) > 5  # a correlation alone
