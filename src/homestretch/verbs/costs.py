"""What the runs of a method cost and how they learned, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from homestretch.compared import Cost, MethodRecord, Point
from homestretch.config.methods import Method
from homestretch.config.stages import TRAINS_POLICY
from homestretch.results import Results, RunFolder, StageFolder, StageRecord, Status


def record_of(
    method: Method,
    runs: Sequence[RunFolder],
    *,
    status: Status,
    error: str | None = None,
    seeds: Sequence[int] = (),
    metric: str = "",
) -> MethodRecord:
    """A method's record; `runs` are its finished ones, in the order of `seeds`."""
    stages = [stage for stage in method.recipe.stages if stage.kind != "evaluate"]
    about = [stage for stage in stages if stage.kind in TRAINS_POLICY][-1]
    record = MethodRecord(
        status=status,
        error=error,
        baseline=method.baseline,
        stages=[stage.name for stage in stages],
        stage=about.name,
        limited=method.limited is not None,
    )
    if not runs:
        return record
    made = {stage.name: [run.stage(n, stage.name) for run in runs] for n, stage in enumerate(stages, start=1)}
    chosen_by = getattr(about.config, "metric_for_best_model", "none")
    logs = [rows_of(folder) for folder in made[about.name]]
    curve = next((m for m in (metric, chosen_by, "la_rougeL") if any(f"eval/{m}" in r for r in logs[0])), None)
    return record.model_copy(
        update={
            "by_seed": {seed: value for seed, run in zip(seeds, runs, strict=True) for value in headline(run, metric)},
            "own": cost([[folder] for folder in made[about.name]]),
            "total": cost(list(zip(*made.values(), strict=True))),
            "curve_metric": curve,
            "curves": {s: list(points(rows, curve)) for s, rows in zip(seeds, logs, strict=True)} if curve else {},
        }
    )


def cost(seeds: Sequence[Sequence[StageFolder]]) -> Cost:
    """What some stages cost together; `seeds` holds their folders for each seed."""
    records = [[StageRecord.read(folder.record) for folder in folders] for folders in seeds]
    memory = [r.peak_memory_bytes for some in records for r in some if r.peak_memory_bytes is not None]
    return Cost(
        seconds=fmean(sum(r.seconds or 0.0 for r in some) for some in records),
        tokens=fmean(sum(r.tokens or 0 for r in some) for some in records),
        samples=fmean(sum(r.samples or 0 for r in some) for some in records),
        peak_memory_bytes=max(memory, default=None),
    )


def headline(run: RunFolder, metric: str) -> Iterator[float]:
    """The metric of the run's greedy raw outputs, if it was measured."""
    for name, arm in Results.read(run.results).arms.items():
        if name.endswith("_raw") and metric in arm.measured:
            yield arm.measured[metric].value


def points(rows: Sequence[dict[str, Any]], metric: str) -> Iterator[Point]:
    """The validations of a stage, each with what the round before it had spent."""
    spent = {"seconds": 0.0, "tokens": 0, "samples": 0}
    for row in rows:
        if "num_tokens" in row:
            spent = {"seconds": row["seconds"], "tokens": row["num_tokens"], "samples": row["num_samples"]}
        if row.get(f"eval/{metric}") is not None:
            yield Point(**spent, value=row[f"eval/{metric}"])


def rows_of(stage: StageFolder) -> list[dict[str, Any]]:
    """What the stage logged; nothing where it trained nothing."""
    if not stage.metrics.is_file():
        return []
    return [json.loads(line) for line in stage.metrics.read_text(encoding="utf-8").splitlines()]
