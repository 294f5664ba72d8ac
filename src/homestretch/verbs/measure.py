"""Measure outputs that exist: files of generations, or a whole run again with other metrics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from homestretch.errors import InputError
from homestretch.evaluate import DEFAULT_COMPARISONS, evaluate_rows, read_rows
from homestretch.metrics.scorers import available_scorers
from homestretch.progress import progress
from homestretch.results import Results, RunFolder


def measure(
    paths: Sequence[str | Path],
    *,
    metrics: Sequence[str] | None = None,
    la_rouge: Literal["a", "b", "c", "d"] = "a",
    bleurt_checkpoint: str | Path | None = None,
    headline_metric: str = "la_rougeL",
    seed: int = 0,
    out: str | Path | None = None,
) -> Results:
    """Every arm of the given generation files or run folders, with intervals and paired tests.

    One run folder gets its `results.json` renewed, all else that stands in it kept; otherwise `out` is written where
    it is given. Raises InputError, DataError for a bad row, RecipeError for an unknown metric.
    """
    sources = [_generations(Path(path)) for path in paths]
    rows = [row for path in sources for row in read_rows(path)]
    run = RunFolder(paths[0]) if len(paths) == 1 and Path(paths[0]).is_dir() else None
    with progress(None, "evaluate", "part") as bar:
        results = evaluate_rows(
            rows,
            metrics=metrics,
            la_rouge=la_rouge,
            seed=seed,
            learned=available_scorers(metrics, bleurt_checkpoint=bleurt_checkpoint),
            comparisons=_pairs(rows),
            headline_metric=headline_metric,
            progress=lambda what, done, _: bar.advance(done - bar.done, now=what),
        )
    if run is not None and run.results.is_file():
        new = {"headline_metric": headline_metric, "arms": results.arms, "comparisons": results.comparisons}
        results = Results.read(run.results).model_copy(update=new)
    target = Path(out) if out else run.results if run else None
    if target is not None:
        results.write(target)
    return results


def _generations(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = RunFolder(path).generations
    if not found.is_file():
        raise InputError(
            f"{path}: there is no evaluation/generations.jsonl in this folder; give a run that got so far."
        )
    return found


def _pairs(rows: list[dict[str, Any]]) -> Sequence[tuple[str, str]]:
    """The usual comparisons where there are two of the usual arms, else every later arm against every earlier one."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    usual = [pair for pair in DEFAULT_COMPARISONS if set(pair) <= set(arms)]
    return usual or [(b, a) for a, b in combinations(arms, 2)]
