"""The ledger is its results: it is written again from them, and its verdicts follow the numbers."""

import json
import re

import pytest

from reproduce import fig3, ledger, paper, results
from reproduce.ledger import pictures, table_2
from reproduce.ledger.verdicts import VERDICTS
from tools.markdown import between

ORIGIN = {"versions": {"numpy": "2"}, "commit": "c" * 40, "date": "2026-01-01"}


def row(settings, seed=0, **values):
    return {"settings": settings, "seed": seed, "values": values, "cpu_seconds": 6.0} | ORIGIN


def fig3_rows(kl=lambda target, flow, K: 0.2 / K, modes=(1.0, 0.9), seeds=10):
    """A whole figure 3, its KLs by a rule; seeds differ, and the median of them is the rule's."""
    return [
        row(
            fig3.baseline(target, flow, K),
            seed,
            kl=[kl(target, flow, K) * (0.5 + seed / 9), 0.001],
            forward_kl=[0.5, 0.1],
            modes=list(modes) if target != "U2" else [],
        )
        for target in fig3.TARGETS
        for flow in fig3.FLOWS
        for K in fig3.CURVE
        if K in fig3.LENGTHS or target != "U4"
        for seed in range(seeds)
    ]


def mnist_row(flow, K, epochs, nll, redraw=True, seed=0, parts=None, **change):
    """One model at one epoch; F is nll + 4 and the KL is 4."""
    settings = {"flow": flow, "K": K, "epochs": epochs, "images": 10, "images_5000": 5}
    settings |= ({"redraw": True} if redraw else {}) | change
    values = {"nll": nll, "F": nll + 4, "KL": 4.0, "nll_5000": nll - 1, "nll_200_of_these": nll}
    values |= {"nll_se": 0.2, "F_se": 0.2, "KL_se": 0.1}
    if parts is not None:
        values["nll_parts"] = parts
    return row(settings, seed, **values)


MODELS = [("none", 0)] + [(f, K) for f in ("planar", "nice-perm") for K in (10, 20, 40, 80)]


def mnist_rows(nll=lambda flow, K, epochs: 90.0 - 0.05 * K - 0.01 * epochs, epochs=(10, 40), **how):
    return [mnist_row(f, K, at, nll(f, K, at), **how) for f, K in MODELS for at in epochs]


def lines_of(found):
    return {line.item: line for line in pictures.lines(found)}


def numbers_of(rows):
    return {number.item: number for number in table_2.numbers(rows)}


def redrawn(rows):
    """item -> verdict of the block of redrawn pixels."""
    return {item: number.ours["redrawn pixels"][1] for item, number in numbers_of(rows).items()}


# ------------------------------------------------------------------------ what is in the repository
def test_the_ledger_is_written_again_to_the_same_bytes():
    assert ledger.text(ledger.read()).encode() == ledger.LEDGER.read_bytes()


def test_the_readme_has_the_ledgers_summary():
    page, summary = ledger.README.read_text("utf-8"), ledger.summary(ledger.read())
    assert between(page, ledger.BEGIN, ledger.END, summary, "README.md") == page


def test_committed_results_are_whole_and_clean():
    for path in results.FOLDER.glob("*.json"):
        for found in results.load(path.stem):
            assert re.fullmatch("[0-9a-f]{40}", found["commit"]), f"{path.name}: {found['commit']}"
            assert found["cpu_seconds"] > 0 and not re.search(r"/(tmp|home|root)/", str(found))


def test_every_number_of_the_paper_has_a_line():
    text = ledger.LEDGER.read_text("utf-8")
    numbers = [
        n for table in (paper.FIG_4_F, paper.FIG_4_KL, paper.TABLE_2) for n in table.values()
    ]
    for printed in numbers:
        for value in printed.values():
            assert f"| {value:.2f} |" in text
    assert all(f"{value:.1f}" in text for value in paper.TABLE_3.values())
    assert all(f"| {name} |" in text for name in (*paper.ERRATA, *paper.DIFFERENCES))
    assert all(rival in text for rival in paper.RIVALS.values())


# --------------------------------------------------------------------------------------- figure 3
def test_figure_3_is_equal_when_it_reaches_what_the_tolerance_says():
    found = lines_of({"fig3": fig3_rows()})
    panels = [line for item, line in found.items() if re.match(r"Fig 3: U\d,", item)]
    assert len(panels) == 12 and {line.verdict for line in panels} == {"equal"}
    curve = found["Fig 3: bound against K, U1"]
    assert curve.verdict == f"same order, because {pictures.AXIS}"
    assert not any("radial" in item for item in found)  # the paper has no such panels


def test_a_median_above_the_goal_a_rise_and_a_lost_mode_are_said():
    high = lines_of({"fig3": fig3_rows(lambda t, f, K: 0.4 / K)})
    said = "same order, because the median at K = 32 is 0.0125"
    assert high["Fig 3: U1, planar"].verdict == said
    assert high["Fig 3: U1, NICE-orth"].verdict == "equal"  # the goal is for planar flows

    def rises(target, flow, K):
        return 0.003 if (target, K) == ("U2", 8) else 0.2 / K

    found = lines_of({"fig3": fig3_rows(rises)})
    assert found["Fig 3: U1, planar"].verdict == "equal"
    for item in ("Fig 3: U2, planar", "Fig 3: U2, NICE-perm", "Fig 3: bound against K, U2"):
        assert found[item].verdict.startswith("not, because")
        assert "the median goes from 0.003 at K = 8 to" in found[item].verdict

    lost = lines_of({"fig3": fig3_rows(modes=(1.5, 0.09))})
    assert lost["Fig 3: U3, planar"].verdict.endswith("10 of 10 seeds miss a mode at K = 32")
    assert lost["Fig 3: U2, planar"].verdict == "equal"
    few = lines_of({"fig3": fig3_rows(seeds=3)})
    assert few["Fig 3: U2, planar"].verdict == "same order, because 3 of 10 seeds were run"


def test_a_rise_within_the_error_of_the_draws_is_none():
    def flat(target, flow, K):
        return 0.2 / K if K < 32 else 0.0002 + 0.2 / 16

    assert not pictures.not_falling(
        {K: [r for r in fig3_rows(flat) if r["settings"]["K"] == K] for K in (16, 32)}
    )


def test_every_cell_of_figure_3_is_in_the_tables():
    text = ledger.text({"fig3": fig3_rows()})
    for target in fig3.TARGETS:
        for flow in fig3.FLOWS:
            for K in fig3.LENGTHS:
                assert f"| {target} {pictures.LABELS[flow]}, K = {K} |" in text
    assert f"{0.2 / 64:.4f}" in text  # the median at K = 64


def test_every_ablation_has_its_line_also_before_it_was_run():
    values = {"kl": [0.02, 0.001], "modes": [1.0, 0.01]}
    rows = [row(fig3.ablated("rate x 3", "U3"), seed, **values) for seed in range(3)]
    text = ledger.text({"ablations": rows})
    assert "| rate x 3 |  |  | 0 of 0 | 0.0200 | 0.0200 to 0.0200 | 3 of 3 |" in text
    assert all(f"| {name} |" in text for name in fig3.ABLATIONS)


def test_other_choices_for_nice_are_shown_where_they_were_tried():
    changed = fig3.ablated("rate x 0.3", "U1", flow="nice-perm")
    rows = [row(changed, seed, kl=[0.03, 0.001], modes=[1.0, 1.0]) for seed in range(2)]
    text = ledger.text({"trials": rows, "fig3": fig3_rows()})
    assert "| rate x 0.3 |  |  | 0 of 0 | 0.0300 | 0.0300 to 0.0300 | 0 of 2 |" in text
    assert "had no tuning of their own" not in text
    assert "had no tuning of their own" in ledger.text({"fig3": fig3_rows()})


# -------------------------------------------------------------------------------- figure 4, table 2
def test_a_number_is_judged_at_its_models_longest_training_in_its_own_block():
    rows = mnist_rows(epochs=(10, 40))
    rows += [mnist_row("planar", 80, 20, 91.0, redraw=False)]
    number = numbers_of(rows)["Table 2: -ln p(x), planar, K = 80"]
    assert number.ours["redrawn pixels"] == ("85.60 ± 0.20 at 40", "same order, 0.50 above")
    assert number.ours["fixed pixels"] == ("91.00 ± 0.20 at 20", "not, 5.90 above")
    assert number.rival == paper.RIVALS["planar", 80]
    assert numbers_of(rows)["Table 2: -ln p(x), no flow"].ours["fixed pixels"] == ("", "not run")


def test_the_four_verdicts_are_judged_in_both_directions():
    found = redrawn(mnist_rows(lambda flow, K, epochs: 86.4 - 0.01 * K))
    assert found["Table 2: -ln p(x), no flow"] == "better, 3.50 below"
    assert found["Table 2: -ln p(x), planar, K = 20"] == "equal"  # 86.2 for 86.5
    assert found["Table 2: -ln p(x), planar, K = 80"] == "same order, 0.50 above"
    assert found["Fig 4: KL(q ‖ p), no flow"] == "not, 2.82 below"  # a lower KL is not better
    assert found["Table 2: gain of planar, K = 80"] == "same order, 4.00 below"
    rising = redrawn(mnist_rows(lambda flow, K, epochs: 90.0 + 0.01 * K))
    assert rising["Table 2: -ln p(x), planar, K = 40"] == "not, 4.70 above"
    assert rising["Table 2: gain of planar, K = 80"] == "not, 5.60 below"


def test_a_pair_is_compared_after_equal_training_and_the_share_of_the_gain_is_said():
    rows = mnist_rows(epochs=(10, 40))
    stopped = [r for r in rows if (r["settings"]["flow"], r["settings"]["epochs"]) != ("none", 40)]
    for given, epochs in ((rows, 40), (stopped, 10)):
        ours, _ = numbers_of(given)["Table 2: gain of planar, K = 80"].ours["redrawn pixels"]
        assert ours == f"4.00 at {epochs}, 83% of the paper's"
        assert ["planar, 0 to 10", "-2.40", "", f"-0.50 at {epochs}"] in table_2.steps(given)
        assert ["planar, 10 to 20", "-1.00", "", "-0.50 at 40"] in table_2.steps(given)


def test_paired_errors_are_given_where_both_rows_have_what_they_need():
    digits = [80.0, 95.0, 110.0, 75.0]
    better = [d - 2 + e for d, e in zip(digits, (0.1, -0.1, 0.1, -0.1), strict=True)]
    rows = [mnist_row("none", 0, 10, 90.0, parts=digits), mnist_row("planar", 10, 10, 88.0)]
    assert ["planar, 0 to 10", "-2.40", "", "-2.00 at 10"] in table_2.steps(rows)
    rows[1] = mnist_row("planar", 10, 10, 88.0, parts=better)
    assert ["planar, 0 to 10", "-2.40", "", "-2.00 ± 0.06 at 10"] in table_2.steps(rows)


def test_seeds_are_averaged_and_widen_the_error():
    rows = [mnist_row("none", 0, 10, nll, seed=i) for i, nll in enumerate((90.0, 91.0, 92.0))]
    ours, _ = numbers_of(rows)["Table 2: -ln p(x), no flow"].ours["redrawn pixels"]
    assert ours == "91.00 ± 0.61 at 10"  # sqrt(0.2^2 + 1 / 3)


def test_curves_ablations_and_blocks_are_in_the_text():
    changed = [mnist_row("planar", 20, 40, 91.0, annealing=True)]
    changed += [mnist_row("planar", 20, 40, 90.0, redraw=False)]
    text = ledger.text({"mnist": mnist_rows() + changed})
    assert "| NICE-perm, K = 40, redrawn pixels | 87.90 | 87.60 |" in text
    assert "| planar, K = 20, 40 epochs: annealing = True | 95.00 | 91.00 | +2.40 |" in text
    assert "annealing = True: +2.40 (planar, K = 20, 40)" in text  # among the differences
    assert "once: +1.40 (planar, K = 20, 40)" in text


def test_what_a_result_was_trained_with_is_what_the_ledger_says():
    before = ledger.text({"mnist": mnist_rows()})
    assert "| gradient | of (15) in full | the same |" in before
    after = ledger.text(
        {"mnist": [*mnist_rows(), mnist_row("none", 0, 10, 91, path_gradient=False)]}
    )
    assert "| gradient | of (15) in full | the same without" in after
    assert "path_gradient = False: +1.10 (no flow, 10)" in after


def test_any_part_of_the_runs_makes_a_whole_ledger():
    rows = mnist_rows()
    for part in ([], rows[:1], rows[3:4], rows[::3]):
        text = ledger.text({"mnist": part} if part else {})
        assert ("## Figure 4" in text) == bool(part) and text.count("# Does it reproduce?") == 1


# ------------------------------------------------------------------------- what was measured of E4
def test_the_printed_constraint_is_judged_by_what_was_measured():
    values = {"modes": [1.0, 1.0]}
    rows = [
        row(fig3.ablated(name, "U1"), kl=[kl, 0.001], **values)
        for name, kl in (("as in figure 3", 0.03), ("printed constraint", 0.02))
    ]
    mnist = [*mnist_rows(), mnist_row("planar", 20, 10, 89.0, printed_constraint=True)]
    (said,) = [
        line[2] for line in ledger.errata({"ablations": rows, "mnist": mnist}) if line[0] == "E4"
    ]
    assert "U1 0.0200 for 0.0300, MNIST, planar, K = 20 89.00 for 88.90" in said
    assert "as low or lower in 1 of 2 pairs" in said
    assert dict((line[0], line[2]) for line in ledger.errata({}))["E4"] == paper.ERRATA["E4"][1]


# ----------------------------------------------------------------------------------- what is absent
def test_what_was_not_run_says_so():
    found = ledger.verdicts_of({})
    assert {verdict.partition(",")[0] for group in found.values() for verdict in group} == {
        "not run"
    }
    (table_3,) = found["Table 3"]
    assert "CIFAR" in table_3 and "Hamiltonian" in found["Table 2, HVI"][0]


def test_a_damaged_result_stops_the_ledger(tmp_path):
    whole = (results.FOLDER / "fig1.json").read_text(encoding="utf-8")
    assert json.loads(whole)["format"] == results.MERGED
    (tmp_path / "fig1.json").write_text(
        whole.replace('"seed": 8', '"seed": 9', 1), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"fig1\.json: expected a whole file"):
        ledger.read(tmp_path)


def test_the_summary_goes_between_its_markers_and_nowhere_else():
    page, marks = f"a\n{ledger.BEGIN}\nold\n{ledger.END}\nb\n", (ledger.BEGIN, ledger.END)
    new = between(page, *marks, "new", "README.md")
    assert new == f"a\n{ledger.BEGIN}\nnew\n{ledger.END}\nb\n"
    assert between(new, *marks, "new", "README.md") == new
    for bad in ("no markers", page + page, f"{ledger.END} {ledger.BEGIN}"):
        with pytest.raises(ValueError, match=r"README\.md: expected one"):
            between(bad, *marks, "new", "README.md")
    summary = ledger.summary({})
    assert "| Figure 4, redrawn pixels | 0 | 0 | 0 | 0 | 14 |" in summary
    assert all(f" {verdict} |" in summary for verdict in VERDICTS)
