"""Verdict, table, differences and choice of curves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from report_fixture import make_results, measured

from homestretch.report import names
from homestretch.report.charts import Lines, Mark, curve_chart
from homestretch.report.curves import marks, panels, remarks
from homestretch.report.diff import marked, pieces
from homestretch.report.page import with_code
from homestretch.report.read import StageView
from homestretch.report.sections import comparisons, environment
from homestretch.report.table import arms_table, markdown, metric_line
from homestretch.report.verdict import verdict
from homestretch.results import Arm, Comparison, Environment, Results, Selection, StageRecord


@pytest.mark.parametrize(
    ("gain", "outcome", "says"),
    [
        (2.3, "better", "`ppo` is better than `sft` here: la-ROUGE-L rises from 24.4 to 26.7"),
        (0.6, "unclear", "interval −0.6 to +1.8, which includes zero"),
        (-2.4, "worse", "`ppo` is worse than `sft` here: la-ROUGE-L falls from 24.4 to 22.0"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(gain: float, outcome: str, says: str) -> None:
    said = verdict(make_results(gain=gain))
    assert said.outcome == outcome and says in said.sentence
    joint = ", but outputs" if outcome == "worse" else ", and outputs"
    assert f"{joint} that fail a rule fall from 37 % to 14 %." in said.sentence
    assert said.details[0].startswith("Sampled at temperature 1, la-ROUGE-L")


def test_an_interval_that_the_test_of_chance_contradicts_is_no_verdict() -> None:
    results = make_results(gain=2.3)
    doubted = [c.model_copy(update={"p_value": 0.25}) for c in results.comparisons]
    said = verdict(results.model_copy(update={"comparisons": doubted}))
    assert said.outcome == "unclear"
    assert said.sentence.startswith("This run does not show a difference") and "p = 0.25" in said.sentence


@pytest.mark.parametrize(
    ("stages", "rl", "ml"),
    [({"ml": "ift", "rl": "dpo"}, "dpo", "ift"), ({"rl": "soup"}, "soup", "ml"), ({}, "rl", "ml")],
)
def test_the_verdict_names_the_stages_that_it_is_about(stages: dict[str, str], rl: str, ml: str) -> None:
    results = make_results().model_copy(update={"stages": stages})
    said = verdict(results)
    assert said.sentence.startswith(f"`{rl}` is better than `{ml}` here: ")
    assert said.details[1].startswith(f"`{rl}` beats `{ml}` with post-processing: ")
    unclear = verdict(make_results(gain=0.6).model_copy(update={"stages": stages}))
    assert unclear.sentence.startswith(f"This run does not show a difference between `{rl}` and `{ml}`: ")
    for part in (said.sentence, *said.details, unclear.sentence, *unclear.details):
        assert "einforcement" not in part and "likelihood" not in part


def test_the_verdict_is_the_same_whichever_way_it_was_compared() -> None:
    results = make_results()
    turned = [
        c.model_copy(update={"a": c.b, "b": c.a, "difference": -c.difference, "low": -c.high, "high": -c.low})
        for c in results.comparisons
    ]
    assert verdict(results.model_copy(update={"comparisons": turned})) == verdict(results)


@pytest.mark.parametrize(("difference", "outcome"), [(-0.2, "better"), (0.2, "worse")])
def test_lower_can_be_better(difference: float, outcome: str) -> None:
    compared = Comparison(
        a="rl_raw", b="ml_raw", metric="copy_rate", difference=difference, low=difference - 0.1,
        high=difference + 0.1, p_value=0.01, n=50, higher_is_better=False,
    )  # fmt: skip
    arms = {name: Arm(metrics={}) for name in ("ml_raw", "rl_raw")}
    assert verdict(Results(headline_metric="copy_rate", arms=arms, comparisons=[compared])).outcome == outcome


def test_where_no_side_is_better_nothing_leads_and_nothing_is_better() -> None:
    ratio = {"length_ratio": measured(1.19, 0.01, 50).model_copy(update={"higher_is_better": None})}
    other = {"length_ratio": measured(1.06, 0.01, 50).model_copy(update={"higher_is_better": None})}
    compared = Comparison(a="rl_raw", b="ml_raw", metric="length_ratio", difference=-0.13, low=-0.15, high=-0.11,
                          p_value=0.001, n=50, higher_is_better=None)  # fmt: skip
    arms = {"ml_raw": Arm(metrics=ratio), "rl_raw": Arm(metrics=other)}
    assert not any(cell.best for cell in metric_line(arms, "length_ratio").cells)
    (row,) = comparisons(Results(arms=arms, comparisons=[compared]))
    assert (row.outcome, row.reading) == ("unclear", "lower")


def test_a_gain_with_more_failures_is_not_praised() -> None:
    results = make_results()
    rl = results.arms["rl_raw"]
    worse = rl.model_copy(update={"failure_modes": {"any": measured(0.5, 0.05, 300, up=False)}})
    said = verdict(results.model_copy(update={"arms": {**results.arms, "rl_raw": worse}}))
    assert ", but outputs that fail a rule rise from 37 % to 50 %" in said.sentence


def test_no_verdict_says_why() -> None:
    arm = Arm(metrics={"rougeL": measured(20.0, 1.0, 10)})
    assert "not been evaluated" in verdict(None).sentence
    assert "no arm `rl_raw`" in verdict(Results(arms={"ml_raw": arm})).sentence
    assert "no arm `ml_raw` (the model of `sft` or `ift`)" in verdict(Results(arms={"rl_raw": arm})).sentence
    assert "neither" in verdict(Results(arms={"base": arm})).sentence
    assert "not measured" in verdict(Results(arms={"ml_raw": arm, "rl_raw": arm})).sentence
    compared = Results(headline_metric="rougeL", arms={"ml_raw": arm, "rl_raw": arm})
    assert "not compared" in verdict(compared).sentence


def test_an_interval_that_excludes_zero_is_never_written_with_a_zero_end() -> None:
    results = make_results()
    close = Comparison(a="rl_raw", b="ml_raw", metric="la_rougeL", difference=1.0, low=0.02, high=2.0,
                       p_value=0.049, n=300)  # fmt: skip
    assert "+0.02 to +2.00" in verdict(results.model_copy(update={"comparisons": [close]})).sentence


def test_table_of_arms() -> None:
    rows = arms_table(make_results())
    assert rows[0] == ["arm", "la-ROUGE-L", "ROUGE-L", "reward", "outputs that fail a rule", "length, tokens: mean"]
    assert rows[1] == ["ml_raw", "24.4 (23.1 to 25.7)", "26.4 (25.0 to 27.8)", "0.400 (0.250 to 0.550)",
                       "37 % (33 % to 41 %)", "14.8"]  # fmt: skip
    assert [row[0] for row in rows[1:]] == ["ml_raw", "ml_post", "rl_raw", "rl_post", "ml_raw@t1", "ml_post@t1",
                                            "rl_raw@t1", "rl_post@t1"]  # fmt: skip
    lines = markdown([["a|b", "c"], ["1", "2"]]).splitlines()
    assert lines == ["| a\\|b | c |", "| --- | ---: |", "| 1 | 2 |"]


def test_the_best_of_a_row_leads_it_in_its_own_direction() -> None:
    def leaders(values: list[float], *, up: bool) -> list[bool]:
        arms = {str(i): Arm(metrics={"m": measured(v, 0.1, 9, up=up)}) for i, v in enumerate(values)}
        return [cell.best for cell in metric_line(arms, "m").cells]

    assert leaders([10.0, 30.0, 20.0], up=True) == [False, True, False]
    assert leaders([10.0, 30.0, 20.0], up=False) == [True, False, False]
    assert leaders([20.0, 20.0, 20.0], up=True) == [False, False, False]


def test_what_an_arm_lacks_is_a_dash() -> None:
    arms = {"ml_raw": Arm(metrics={"la_rougeL": measured(20.0, 1.0, 10)}), "rl_raw": Arm(metrics={})}
    assert arms_table(Results(arms=arms))[2] == ["rl_raw", "–"]
    assert arms_table(Results()) == [["arm"]]


def test_differences_are_marked() -> None:
    out = marked("Read the log file.", reference="Read a log.", partner="Write the log file.", own="new")
    assert out == '<span class="hit new">Read</span> the <span class="hit">log</span> file.'


def test_case_matters_to_the_partner_but_not_to_the_reference() -> None:
    out = marked("read it", reference="Read it", partner="Read it", own="gone")
    assert out == '<span class="hit gone">read</span><span class="hit"> it</span>' or 'class="hit gone">read<' in out


@given(text=st.text(), reference=st.text(), partner=st.none() | st.text())
def test_marking_changes_no_letter(text: str, reference: str, partner: str | None) -> None:
    assert "".join(pieces(text)) == text
    out = marked(text, reference=reference, partner=partner, own="new")
    plain = Markup(out).replace('<span class="hit">', "").replace('<span class="new">', "")
    plain = plain.replace('<span class="hit new">', "").replace("</span>", "")
    assert plain == Markup.escape(text)


def test_signs_of_scripts_without_spaces_are_compared_one_by_one() -> None:
    out = marked("読む本", reference="読む紙", partner=None, own="new")
    assert out == '<span class="hit">読む</span>本'


def _stage(rows: list[dict], doctor: list[tuple[int | None, str]] | None = None) -> StageView:
    return StageView("04-ppo", StageRecord(name="ppo"), rows, doctor or [])


def test_curves_pair_training_with_validation_and_mark_the_kept_step() -> None:
    rows = [{"step": s, "reward": 0.1 * s, "flat": 1.0, "note": "x", "lr": 1 / (s + 1)} for s in range(5)]
    rows += [{"step": s, "eval/reward": 0.2 * s, "eval/la_rougeL": s} for s in (0, 4)]
    shown, left_out = panels(_stage(rows), [Selection(stage="ppo", metric="la_rougeL", step=4, value=4.0)])
    assert [p.key for p in shown] == ["la_rougeL", "reward", "lr"] and left_out == ["flat"]
    assert shown[0].best == (4, 4.0) and shown[1].best is None
    assert {line.label: list(line.ys) for line in shown[1].lines}["validation"] == [0.0, 0.8]


def test_long_curves_become_means_of_neighbours() -> None:
    rows = [{"step": s, "loss": float(s)} for s in range(1000)]
    (panel,), _ = panels(_stage(rows), [])
    assert len(panel.lines[0].xs) == 200 and panel.lines[0].ys[0] == 2.0 and panel.lines[0].xs[-1] == 997.0


def test_the_doctor_does_not_repeat_itself() -> None:
    said = [(s, f"KL is {s}.5 nats; raise kl_coef.") for s in range(1, 6)] + [(7, "Outputs get shorter.")]
    first, second = remarks(_stage([], said))
    assert (first.number, first.step, first.times) == (1, 1, 5) and first.sentence == "KL is 1.5 nats; raise kl_coef."
    assert (second.number, second.step, second.times) == (2, 7, 1)


def test_an_alarm_is_marked_by_name_at_every_step_at_which_it_spoke() -> None:
    said = [(s, f"Alarm (power law): `loss` is {s}; lower it.") for s in (4, 9)]
    said = [(2, "KL is 1.5 nats."), *said, (9, "KL is 2.5 nats."), (None, "Alarm (over-optimisation): it fell.")]
    found = remarks(_stage([], said))
    assert [(r.alarm, r.steps, r.times) for r in found] == [
        (None, (2, 9), 2),
        ("power law", (4, 9), 2),
        ("over-optimisation", (), 1),
    ]
    assert marks(found) == [Mark(2, 1), Mark(4, 2, "power law"), Mark(9, 2, "power law")]
    assert remarks(_stage([], [(1, "What an Alarm (golden signal) means.")]))[0].alarm is None


def test_an_alarm_differs_from_other_sentences_without_colour() -> None:
    lines = [Lines("training", [1, 2, 3], [1.0, 2.0, 3.0], series=1)]
    plain, alarm, outside = (
        curve_chart(lines, label="x", marks=[mark])
        for mark in (Mark(2, 7), Mark(2, 7, "power law"), Mark(8, 7, "power law"))
    )
    assert "stroke-dasharray" in plain and "power law" not in plain
    assert "stroke-dasharray" not in alarm and "power law" in alarm and "rotate(-90" in alarm
    assert all(">7<" in chart for chart in (plain, alarm)) and "power law" not in outside


def test_what_was_said_at_one_step_has_one_line_with_every_number_and_name() -> None:
    lines = [Lines("training", [1, 2, 3], [1.0, 2.0, 3.0], series=1)]
    said = [Mark(2, 7), Mark(2, 8, "power law"), Mark(2, 9, "golden signal"), Mark(2, 10, "golden signal"), Mark(3, 11)]
    chart = curve_chart(lines, label="x", marks=said)
    assert ">7, 8, 9, 10<" in chart and ">power law, golden signal<" in chart and ">11<" in chart
    assert ">7<" not in chart


def test_numbers_for_readers() -> None:
    assert names.number(-0.04, 1) == "0.0" and names.signed(-1.25, 2) == "−1.25" and names.signed(0.0, 1) == "0.0"
    assert names.percent(0.184) == "18 %" and names.percent(0.021) == "2.1 %" and names.percent(0.0) == "0 %"
    assert names.p_value(0.0001) == "p < 0.001" and names.p_value(0.0123) == "p = 0.012"
    assert (
        names.duration(95) == "1 min 35 s" and names.duration(7300) == "2 h 01 min" and names.duration(3.14) == "3.1 s"
    )
    assert names.memory(3 * 2**30) == "3.0 GiB" and names.listed(["a", "b", "c"]) == "a, b and c"
    assert names.partner("rl_raw@t1") == "ml_raw@t1" and names.partner("base") is None


def test_sizes_in_the_environment_can_be_read() -> None:
    record = Environment(hardware={"memory_bytes": 8 * 2**30, "cores": 2, "accelerator": None}, seeds={"seed": 0})
    assert environment(record) == [("Hardware", {"memory": "8.0 GiB", "cores": "2"}), ("Seeds", {"seed": "0"})]
    assert environment(None) == []


def test_names_in_a_sentence_are_code_and_a_lone_backtick_is_text() -> None:
    assert with_code("`ppo` beats <b>`s<f>t`") == ("<code>ppo</code> beats &lt;b&gt;<code>s&lt;f&gt;t</code>")
    assert with_code("la-ROUGE-L of a ` alone") == '<span class="nb">la-ROUGE-L</span> of a ` alone'
