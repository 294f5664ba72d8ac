"""The page of rewards on the same pairs: what it says, what it shows, and that nothing in it can act."""

from __future__ import annotations

import re

from report_fixture import EVIL
from test_report import Page

from homestretch.metrics.agreement import agreement, lead, right_order
from homestretch.ordered import (
    CurvePoint,
    Disagreement,
    Explanation,
    FitRecord,
    Influence,
    Ordered,
)
from homestretch.report.ordered_page import dependence, effects, learning_curve, overview, render
from homestretch.report.ordered_tables import (
    agreement_table,
    annotator_table,
    correlation_table,
    influence_table,
    made,
    sentence,
)
from homestretch.report.reward_charts import Effect, claim_chart, effect_chart
from homestretch.results import Measured

N = 40
PROMPTS = [f"p{i}" for i in range(N)]


def explanation(features: int = 2, *, fit: bool = True) -> Explanation:
    names = [f"f{i}" for i in range(features)]
    record = FitRecord(
        pairs={"train": 1200, "validation": N},
        dead_starts=1,
        remarks=[f"The feature {EVIL} says nothing."],
        curve=[CurvePoint(pairs=25 * k, accuracy=[0.5, 0.6], nll=[0.8 / k, 0.7 / k]) for k in (1, 2)],
    )
    return Explanation(
        accuracy=0.75,
        influence={n: Influence(permutation=0.02 * i, leave_one_out=-0.01, slope=0.3) for i, n in enumerate(names)},
        at=[0, 0.5, 1],
        partial_dependence={n: [-1.0, 0.0, 1.0 + i] for i, n in enumerate(names)},
        correlation=[[1.0 if i == j else 0.9 - 0.1 * (i + j) for j in range(features)] for i in range(features)],
        fit=record if fit else None,
    )


def record(right: int = 30, longer: int = 20, **more: object) -> Ordered:
    """Two rewards: one that orders `right` of forty pairs, and one that is right in all; length in `longer`."""
    scores = {
        "quality": [1.0] * right + [-2.0] * (N - right),
        EVIL: [3.0] * N,
        "length": [1.0] * longer + [-1.0] * (N - longer),
    }
    nothing = [0.0] * N
    who = ["ann" if i % 2 else EVIL for i in range(N)]
    rewards = {n: agreement(scores[n], nothing, PROMPTS, log_odds=True, annotators=who) for n in ("quality", EVIL)}
    right_of = {name: right_order(values, nothing) for name, values in scores.items()}
    pairs = [("quality", EVIL), ("quality", "length"), (EVIL, "length")]
    wrong = Disagreement(
        where="pairs.jsonl:3", margin=-2.0, prompt=f"{EVIL} {'x' * 300}", chosen=EVIL, rejected="y" * 3000,
        annotator=EVIL, features={"f0": (0.25, 0.5)},
    )  # fmt: skip
    values = {
        "data": EVIL,
        "pairs": N,
        "held_out": True,
        "rewards": rewards,
        "baselines": {"length": agreement(scores["length"], nothing, PROMPTS, log_odds=False)},
        "comparisons": [lead(a, b, right_of, PROMPTS) for a, b in pairs],
        "explanations": {"quality": explanation()},
        "disagreements": [wrong],
    }
    return Ordered(**(values | more))


def test_the_sentence_says_whether_length_does_as_well() -> None:
    assert sentence(record()).startswith(
        "`quality` orders 75 % (60 to 86) of 40 pairs the right way; it knows more than length, which gets 50 % (+25.0 "
        "points, 95 % interval +"
    )
    assert "the rule that longer is better gets 95 % and beats it (−20.0 points" in sentence(record(longer=38))
    assert "gets 72 %, and the difference may be chance (+2.5 points" in sentence(record(longer=29))
    assert sentence(record(comparisons=[])) == "`quality` orders 75 % (60 to 86) of 40 pairs the right way."


def test_tables_have_what_the_record_has() -> None:
    rows = agreement_table(record())
    assert rows[1][:2] == ["quality", "75 % (60 to 86)"] and rows[3] == ["length", "50 % (35 to 65)", "–"]
    some = agreement([1.0] * N, [0.0] * N, PROMPTS, log_odds=False)
    alone = record(baselines=dict.fromkeys(("length", "quality, mean", "quality.f0"), some))
    assert [row[0] for row in agreement_table(alone)[3:]] == ["length", "features' mean", "f0"]
    two = alone.model_copy(update={"explanations": {"quality": explanation(), EVIL: explanation()}})
    assert [row[0] for row in agreement_table(two)[3:]] == ["length", "quality, mean", "quality.f0"]
    assert rows[1][2] == "0.767", "30 ln(1 + e^-1) + 10 ln(1 + e^2), over 40"
    assert annotator_table(record())[0] == ["annotator", "prompts", "quality", EVIL]
    assert [row[:2] for row in annotator_table(record())[1:]] == [[EVIL, "20"], ["ann", "20"]]
    plain = record(rewards={"quality": agreement([1.0] * N, [0.0] * N, PROMPTS, log_odds=True)})
    assert annotator_table(plain) == []
    found = explanation(3)
    assert influence_table(found)[1] == ["f0", "0.000", "−0.010", "0.300", "f1 (r 0.80)"]
    assert influence_table(explanation(1))[1][-1] == "–" and correlation_table(explanation(1)) == []
    assert correlation_table(found)[0] == ["", "f0", "f1", "f2"]
    assert correlation_table(found)[2] == ["f1", "0.80", "1.00", "0.60"]
    assert made(found.fit) == "Fitted to 1,200 pairs. Starts that ended constant before: 1."
    assert made(None) == made(FitRecord()) == ""


def test_charts_show_what_they_are_for() -> None:
    assert [key.label for key in dependence(explanation(2))[0].legend] == ["f0", "f1"]
    assert [len(chart.legend) for chart in dependence(explanation(9))] == [7, 2]
    assert [chart.title for chart in learning_curve(explanation().fit)] == [
        "Held-out pairs in the right order, %", "Held-out negative log-likelihood"
    ]  # fmt: skip
    assert learning_curve(None) == learning_curve(FitRecord()) == []
    labels = re.findall(r">(f\d)<", effects(explanation(3)).svg)
    assert labels == ["f2", "f1", "f0"], "the most important first"
    assert "&lt;script" in overview(record()).svg and "<script" not in overview(record()).svg
    svg = effect_chart([Effect("a", 2.5, -1.0)], label="x & y")
    assert "x &amp; y" in svg and ">2.5<" in svg and "var(--s1)" in svg
    half = Measured(value=0.5, low=0.4, high=0.6, n=9)
    claim = record().rewards["quality"].calibration[0].model_copy(update={"right": half})
    assert "var(--s4)" in claim_chart([("a", 4, [claim])], label="c")


def test_the_page_needs_nothing_and_nothing_in_it_acts() -> None:
    text = render(record())
    assert text == render(record())
    assert "<script" not in text and "://" not in text and EVIL not in text
    page = Page(text)
    assert len(page.ids()) == len(set(page.ids())) > 8
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert targets <= set(page.ids())
    assert text.count("<svg") == 1 + 1 + 2 + 2, "overview, calibration, effects and answers, two learning curves"
    for said in ("those that a fit to the same data leaves out", "Fitted to 1,200 pairs", "more characters in the data",
                 "Labelled worse", "By annotator", "f0 (r 0.80)"):  # fmt: skip
        assert said in page.text
    assert page.count("details") == 2


def test_a_page_without_features_or_disagreements() -> None:
    text = Page(render(record(explanations={}, disagreements=[], held_out=False))).text
    assert "Influence" not in text and "orders every pair as it is labelled" in text and "all of them" in text
