"""Charts of what a stage is trained on against what that stands for."""

from __future__ import annotations

from typing import Any

import pytest

from homestretch.report import proxies
from homestretch.report.proxies import proxy_charts
from homestretch.report.read import StageView
from homestretch.results import StageRecord


def stage(rows: list[dict[str, Any]]) -> StageView:
    return StageView("01-distill", StageRecord(name="distill", status="done"), rows, [])


def distances(suffix: str = "") -> list[dict[str, Any]]:
    """26 evaluations: the golden distance turns at the sixth, the proxy falls on."""
    return [
        {
            "step": 5 * i,
            f"eval/golden{suffix}": 50.0 + 40.0 / (i + 1) + 0.6 * max(i - 5, 0),
            f"eval/proxy{suffix}": 30.0 / (i + 1),
        }
        for i in range(26)
    ]


@pytest.mark.parametrize("suffix", ["", "_jsd"])
def test_distances_have_a_path_and_laws(suffix: str) -> None:
    path, laws = proxy_charts(stage([{"step": 1, "loss": 2.0}, *distances(suffix)]))
    assert path.title == "Golden against proxy distance, joined in time order"
    assert [key.label.split()[0] for key in laws.legend] == ["golden", "proxy"]


def test_a_path_starts_where_the_golden_distance_is_near_its_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(proxies, "path_chart", lambda lines, **_: drawn.extend(lines) or "")
    broken = {"step": 130, "eval/golden": 60.0, "eval/proxy": float("nan")}
    proxy_charts(stage([{"step": 0, "eval/golden": 900.0, "eval/proxy": 700.0}, *distances(), broken]))
    (line,) = drawn
    assert line.ys[0] == 90.0 and len(line.xs) == len(line.ys) == 26
    assert line.xs == sorted(line.xs, reverse=True), "joined in the order in which they came"


def test_rounds_of_a_golden_reward_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(proxies, "path_chart", lambda lines, **_: drawn.extend(lines) or "")
    rows = [{"step": i, "reward": float(i), "objective/golden/judge": -float(i)} for i in range(90)]
    (chart,) = proxy_charts(stage([*rows, {"step": 90, "reward": 90.0}]))
    assert chart.title == "golden reward, judge against reward, joined in time order"
    (line,) = drawn
    assert line.xs == [3.0 * i + 1 for i in range(30)] and line.ys == [-x for x in line.xs]


def test_a_stage_without_such_signals_has_none() -> None:
    assert proxy_charts(stage([{"step": i, "loss": 1.0, "eval/nll": 2.0, "reward": 0.1} for i in range(5)])) == []
    assert proxy_charts(stage([])) == []
    one = [{"step": 0, "eval/golden": 50.0, "eval/proxy": float("nan")}, {"step": 1, "eval/golden": True}]
    assert proxy_charts(stage(one)) == []
