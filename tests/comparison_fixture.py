"""The record of a made-up comparison, by the schema of `compared.py`."""

from __future__ import annotations

from itertools import combinations

from report_fixture import EVIL, measured

from homestretch.compared import Compared, Cost, MethodRecord, Place, Point
from homestretch.results import Arm, Comparison, Length

STAGES = {"ml": ["sft"], "dpo": ["sft", "negatives", "dpo"], "ppo": ["sft", "negatives", "reward", "ppo"]}


def make_record(
    scores: dict[str, float] | None = None, *, half: float = 0.6, seconds: dict[str, float] | None = None
) -> Compared:
    """Methods with these scores, each difference known to +- `half`; a further method has failed."""
    scores = scores or {"ml": 24.4, "dpo": 25.2, "ppo": 26.7}
    seconds = seconds or {"ml": 60.0, "dpo": 190.0, "ppo": 900.0}
    order = sorted(scores, key=lambda name: -scores[name])
    above = [0.9] * (len(order) - 1) + [None]
    return Compared(
        dataset="builtin/docstrings: 480 pairs to train on, 100 to choose by, 300 to report on",
        seeds=[0, 1],
        budget={"tokens": 200_000},
        methods={name: _method(name, scores[name], seconds[name]) for name in scores}
        | {"broken": MethodRecord(status="failed", error=f"The file says {EVIL}.", stages=["sft"], stage="sft")},
        arms={name: _arm(score) for name, score in scores.items()},
        comparisons=[_pair(a, b, scores[a] - scores[b], half) for b, a in combinations(scores, 2)],
        ranking=[Place(method=m, p_best=0.5, p_above_next=p) for m, p in zip(order, above, strict=True)],
        p_order=0.81,
    )


def _method(name: str, score: float, seconds: float) -> MethodRecord:
    stages = STAGES.get(name, ["sft", name])
    points = [Point(seconds=40 * i, tokens=50_000 * i, samples=300 * i, value=score - 8 / (1 + i)) for i in range(5)]
    return MethodRecord(
        status="done",
        baseline=name == "ml",
        stages=stages,
        stage=stages[-1],
        limited=name != "ml",
        by_seed={0: score - 0.2, 1: score + 0.2},
        own=Cost(seconds=160, tokens=200_400, samples=1200, peak_memory_bytes=2_900_000_000),
        total=Cost(seconds=seconds, tokens=290_000, samples=2000, peak_memory_bytes=2_900_000_000),
        curve_metric="la_rougeL",
        curves={0: points, 1: [p.model_copy(update={"value": p.value + 1, "seconds": p.seconds + 2}) for p in points]},
    )


def _arm(score: float) -> Arm:
    metrics = {"la_rougeL": measured(score, 1.3, 300), "rougeL": measured(score + 2, 1.4, 300)}
    failing = {"any": measured(0.2, 0.03, 300, up=False)}
    return Arm(metrics=metrics, failure_modes=failing, length=Length(mean=14, p10=7, median=12, p90=24))


def _pair(a: str, b: str, difference: float, half: float) -> Comparison:
    ends = {"low": difference - half, "high": difference + half}
    return Comparison(a=a, b=b, metric="la_rougeL", difference=difference, **ends, p_value=0.01, n=300)
