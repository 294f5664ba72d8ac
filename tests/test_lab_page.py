"""The page of the lab: paths in time order, laws with their points of departure, tables, nothing from elsewhere."""

from __future__ import annotations

import pytest
from report_fixture import EVIL
from test_report import Page

from homestretch.lab import AlarmRecord, Evaluation, Hacking, HackingCase, HackingRun, Law
from homestretch.report.charts import Lines
from homestretch.report.lab_page import alarm_table, case_table, curves, laws, means, path, render, teacher_line
from homestretch.report.law_charts import Followed, law_chart, path_chart
from homestretch.results import Measured


def run(turn: float, *, law: bool = True) -> HackingRun:
    curve = [
        Evaluation(
            step=10 * i,
            golden=4 + abs(i - turn) if i else 40.0,
            proxy=8 - 0.2 * i,
            golden_jsd=0.4,
            proxy_jsd=0.3,
            training=None if i == 0 else 1 / i,
        )
        for i in range(12)
    ]
    departed = Law(floor=0.0, factor=20.0, exponent=0.4, departure=90.0, raised=110.0)
    return HackingRun(
        curve=curve,
        best_step=int(10 * turn),
        golden_min=4.0,
        golden_last=4 + abs(11 - turn),
        rise=abs(11 - turn) / 4,
        proxy_at_best=8 - 0.2 * turn,
        proxy_last=5.8,
        hacked=turn < 9,
        laws={"golden": departed} if law else {},
    )


def case(turns: dict[int, float], sweep: str = "sources", **known: object) -> HackingCase:
    rise = Measured(value=0.5, low=0.25, high=0.75, n=len(turns), higher_is_better=False)
    runs = {seed: run(turn) for seed, turn in turns.items()}
    return HackingCase.model_validate(
        {"sweep": sweep, "prompts": 512, "generations": 1, "runs": runs, "rise": rise, **known}
    )


def record() -> Hacking:
    less = Measured(value=-0.45, low=-0.5, high=-0.4, n=2, higher_is_better=False)
    return Hacking(
        dataset=EVIL,
        seeds=[0, 1],
        models={"oracle": EVIL},
        golden_of_teacher={0: 12.25, 1: 14.75},
        cases={
            "offline": case({0: 5, 1: 7}),
            "online_student": case({0: 11, 1: 11}, more_than_baseline=less),
            "jsd": case({0: 5, 1: 5}, "loss", more_than_baseline=less),
        },
        alarms={
            "early": AlarmRecord(runs=6, hacked=4, fired=5, right=3, precision=0.6, recall=0.75, lead=-20.0),
            "silent": AlarmRecord(runs=6, hacked=4, fired=0, right=0, precision=None, recall=0.0, lead=None),
        },
        sentence="`offline` is hacked.",
    )


def test_tables_say_what_the_record_has() -> None:
    rows = case_table(record())
    assert rows[1] == [
        "offline", "512", "1", "4.00", "60", "9.00", "50.0 % (25.0 to 75.0)", "–", "6.80", "5.80", "2 of 2"
    ]  # fmt: skip
    assert rows[2][7] == "−45.0 % (−50.0 to −40.0)" and rows[2][-1] == "0 of 2"
    assert alarm_table(record().alarms)[1:] == [
        ["early", "6", "4", "5", "3", "60 %", "75 %", "−20"], ["silent", "6", "4", "0", "0", "–", "0 %", "–"]
    ]  # fmt: skip
    assert teacher_line(record()) == "The teacher's own distance to the oracle: 12.2 and 14.8 nats a text."


def test_curves_are_means_over_seeds() -> None:
    xs, ys = means(record().cases["offline"], "golden")
    assert xs == list(range(0, 120, 10)) and ys[0] == 40 and ys[6] == pytest.approx(5)
    assert means(record().cases["offline"], "training")[0] == list(range(10, 120, 10)), "none before the first step"
    titles = [chart.title for chart in curves(record(), "loss")]
    assert titles == [
        "Golden distance, nats a text", "Proxy distance, nats a text", "Training loss, nats a token"
    ]  # fmt: skip
    assert [key.label for key in curves(record(), "loss")[0].legend] == ["offline", "jsd"]


def test_a_path_leaves_the_far_start_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Lines] = []

    def drawn(lines: list[Lines], **_: object) -> str:
        seen.extend(lines)
        return ""

    monkeypatch.setattr("homestretch.report.lab_page.path_chart", drawn)
    path(record(), "sources")
    assert [line.label for line in seen] == ["offline", "online_student"]
    offline = seen[0]
    assert max(offline.ys) <= 2 * min(offline.ys) or offline.ys[0] <= 2 * min(offline.ys)
    assert offline.xs == sorted(offline.xs, reverse=True), "in time order the proxy falls"


def test_charts_have_what_they_are_for() -> None:
    line = Lines("golden", [10, 20, 40, 80], [8.0, 6.0, 4.0, 5.0], 2)
    plain = path_chart([line], label="a & b", x_label="x", y_label="y")
    assert plain.startswith("<svg") and "var(--s2)" in plain and "a &amp; b" in plain
    assert "stroke-dasharray" in path_chart([line], label="", x_label="", y_label="", level=5.0) and "dash" not in plain
    law = Law(floor=0.0, factor=25.0, exponent=0.5)
    ring = law.model_copy(update={"departure": 79.0})
    followed = [law_chart([Followed(line, each)], label="", x_label="steps") for each in (None, law, ring)]
    assert ["dash" in svg for svg in followed] == [False, True, True]
    assert ["var(--warn)" in svg for svg in followed] == [False, False, True]
    assert all(">20<" in svg and "mathdefault" not in svg for svg in followed)
    assert [chart.title for chart in laws(record())] == ["offline, seed 0", "online_student, seed 0"]


def test_the_page_needs_nothing_and_shows_everything() -> None:
    text = render(record())
    assert text == render(record())
    assert "its recall says nothing by itself" in text, "what is hacked is told by the rule of one of the alarms"
    page = Page(text)
    assert "<script" not in text and "://" not in text
    assert len(page.ids()) == len(set(page.ids())) > 8
    assert EVIL not in text and "<code>offline</code> is hacked." in text
    assert text.count("<svg") == 1 + 3 + 3 + 2
    assert "Fewer prompts" not in text and "No run is long enough" not in text
    empty = render(Hacking())
    assert "No run is long enough for a law." in empty and "Nothing has been measured." in empty
