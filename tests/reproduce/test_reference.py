"""The stored references: whole, converged, of these data, and right where that can be computed."""

import json
import math

import numpy as np
import pytest

from nflib_min.targets import eight_schools, logistic_regression
from reproduce.reference import nuts

NAMES = tuple(nuts.MODELS)
every = pytest.mark.parametrize("name", NAMES)


@every
def test_a_reference_says_where_it_comes_from(name):
    record = nuts.read(name)
    assert record["model"] == name
    assert record["sampler"]["chains"] >= 4 and record["sampler"]["draws"] >= 10_000
    assert {"numpyro", "jax", "arviz", "numpy", "nflib_min", "python"} <= record["versions"].keys()
    assert "dirty" not in record["commit"] and record["date"] >= "2026"
    target, _, _ = nuts.MODELS[name]()
    assert tuple(record["names"]) == target.names
    d = target.dim
    shapes = {key: np.shape(record[key]) for key in ("mean", "sd", "covariance")}
    assert shapes == {"mean": (d,), "sd": (d,), "covariance": (d, d)}
    assert record["sd"] == pytest.approx(np.sqrt(np.diag(record["covariance"])), rel=1e-9)
    quantiles = np.array([record["quantiles"][str(q)] for q in nuts.QUANTILES])
    assert np.all(np.diff(quantiles, axis=0) > 0)


@pytest.mark.parametrize("name", ["logistic", "eight_schools_non_centred"])
def test_a_reference_has_converged(name):
    found = nuts.read(name)["diagnostics"]
    assert max(found["r_hat"]) < 1.01
    assert min(found["ess_bulk"]) > 4000 and min(found["ess_tail"]) > 4000


def test_a_reference_that_was_changed_by_hand_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "logistic.json"
    text = (nuts.FOLDER / "logistic.json").read_text(encoding="utf-8")
    record = json.loads(text)
    record["mean"][0] += 1e-3
    path.write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(nuts, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"^logistic.json: expected a whole file"):
        nuts.read("logistic")
    path.write_text(text[:-100], encoding="utf-8")
    with pytest.raises(ValueError, match=r"^logistic.json: expected a whole file"):
        nuts.read("logistic")


def test_the_logistic_reference_is_of_scikit_learns_data():
    _, _, names, digest = nuts.breast_cancer()
    record = nuts.read("logistic")
    assert record["data"]["sha256"] == digest
    assert tuple(record["names"]) == names


def test_a_digest_sees_every_bit_and_the_shape():
    x = np.arange(6.0)
    assert nuts.digest(x) == nuts.digest(x.astype(int))
    assert len({nuts.digest(x), nuts.digest(x.reshape(2, 3)), nuts.digest(np.nextafter(x, 9))}) == 3


@pytest.mark.slow
def test_importance_sampling_finds_the_logistic_reference_again():
    """Fresh draws of another proposal, a wider normal: moments and ln Z within their errors."""
    X, y, names, _ = nuts.breast_cancer()
    target = logistic_regression(X, y, nuts.LOGISTIC_PRIOR_SD, names)
    record = nuts.read("logistic")
    mean, sd = np.array(record["mean"]), np.array(record["sd"])
    root = 1.3 * np.linalg.cholesky(record["covariance"])
    n, d = 40_000, target.dim
    e = np.random.default_rng(7).standard_normal((n, d))
    z = mean + e @ root.T
    log_q = -0.5 * np.sum(e**2, axis=1) - 0.5 * d * math.log(2 * math.pi)
    log_q -= np.log(np.diag(root)).sum()
    parts = np.array_split(z, 80)
    log_w = np.concatenate([target.log_density_and_grad(part)[0] for part in parts]) - log_q
    w = np.exp(log_w - record["log_normalizer"]["value"])
    error = math.hypot(w.std() / math.sqrt(n), record["log_normalizer"]["standard_error"])
    assert error < 0.02 and abs(math.log(w.mean())) < 4 * error
    w /= w.sum()
    scaled = (z - mean) / sd
    ours = w @ scaled
    assert np.all(np.abs(ours) < 4 * np.sqrt(w**2 @ scaled**2) + 4 / math.sqrt(75_000))
    spread = np.sqrt(w @ scaled**2)
    assert spread == pytest.approx(np.ones(d), abs=0.03)


def test_nuts_and_the_exact_moments_agree_on_non_centred_schools():
    exact, record = eight_schools(), nuts.read("eight_schools_non_centred")
    error = np.array(record["diagnostics"]["mcse_mean"])
    assert np.all(np.abs(record["mean"] - exact.mean) < 4 * error)
    assert record["sd"] == pytest.approx(exact.sd, rel=0.02)
    found = record["log_normalizer"]
    assert abs(found["value"] - exact.log_normalizer) < 4 * found["standard_error"]


def test_nuts_does_not_reach_into_the_neck_of_centred_schools():
    """R-hat below 1.01 all the same: divergences and the exact answer tell."""
    exact, record = eight_schools(centred=True), nuts.read("eight_schools_centred")
    found = record["diagnostics"]
    assert max(found["r_hat"]) < 1.01 and found["divergences"] > 0
    log_tau = record["names"].index("log_tau")
    assert record["sd"][log_tau] < 0.8 * exact.sd[log_tau]
    assert record["mean"][log_tau] > exact.mean[log_tau] + 0.2 * exact.sd[log_tau]
    assert record["log_normalizer"]["pareto_k"] > 0.7  # its ln Z is said to be unreliable


@every
def test_the_cost_is_stated(name):
    cost = nuts.read(name)["cost"]
    least = min(nuts.read(name)["diagnostics"]["ess_bulk"])
    gradients = cost["gradients"]["warmup"] + cost["gradients"]["draws"]
    assert cost["gradients_per_effective_draw"] == pytest.approx(gradients / least, abs=0.01)
    assert 0 < cost["cpu_seconds"] and 0 < cost["cpu_seconds_compiling"]


def test_an_unknown_model_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        nuts.main(["nine_schools"])
    assert stopped.value.code == 2
    assert "expected models of logistic, " in capsys.readouterr().err
