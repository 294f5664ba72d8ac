"""The evaluation that a run folder has already: what it was asked for, and its results with what is measured anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.measured import FAILURES, REWARDS, VERDICT
from homestretch.config.stages import stage_kind
from homestretch.config.yaml import load_file
from homestretch.metrics import METRICS
from homestretch.results import Arm, Results, RunFolder

ASKED = ("metrics", "la_rouge", "bleurt_checkpoint", "seed")
"""Settings of the stage `evaluate` that `homestretch evaluate` has too, besides the metric of the verdict."""


@dataclass(frozen=True)
class Own:
    """A run's own evaluation; without a run what is asked for unless something else is."""

    settings: EvaluateConfig
    results: Results | None = None

    def metrics(self, bleurt: object) -> list[str] | None:
        """What was measured, and `bleurt` where a checkpoint of it is given now."""
        known = self.settings.metrics
        return [*known, "bleurt"] if bleurt and known is not None and "bleurt" not in known else known

    def headline(self, metrics: Sequence[str] | None) -> str:
        """The metric of the verdict: the run's own where it is measured now or was, else the first of these."""
        own = self.results.headline_metric if self.results else self.settings.metric_for_verdict
        beside = own.startswith((FAILURES, REWARDS)) or self.has(own)
        return own if not metrics or beside or own in metrics else metrics[0]

    def has(self, metric: str) -> bool:
        """Whether some arm was measured by it."""
        return self.results is not None and any(metric in arm.measured for arm in self.results.arms.values())

    def renewed(self, new: Results) -> Results:
        """The run's results with these in place of older values of the same arm and metric; all else stays."""
        if self.results is None:
            return new
        there = {(frozenset((c.a, c.b)), c.metric): c for c in self.results.comparisons}
        there |= {(frozenset((c.a, c.b)), c.metric): c for c in new.comparisons}
        arms = {name: _joined(self.results.arms.get(name), arm) for name, arm in new.arms.items()}
        update: dict[str, Any] = {"headline_metric": new.headline_metric, "comparisons": list(there.values())}
        return self.results.model_copy(update=update | {"arms": self.results.arms | arms})


def own_evaluation(run: RunFolder | None) -> Own:
    """What the last stage `evaluate` of the run's recipe was asked for, and its results, as far as there are any.

    Raises InputError or RecipeError where one of the two files cannot be read.
    """
    given = _stage(load_file(run.recipe).values) if run is not None and run.recipe.is_file() else {}
    # The recipe of an older run may name a metric for the verdict that it does not measure.
    settings = {name: given[name] for name in ASKED if name in given} | {"metric_for_verdict": FAILURES + "any"}
    config: EvaluateConfig = EvaluateConfig.parse(settings, where=f"{run.recipe}: evaluate" if run else "evaluate")
    verdict = {"metric_for_verdict": str(given.get("metric_for_verdict", VERDICT))}
    results = Results.read(run.results) if run is not None and run.results.is_file() else None
    return Own(config.model_copy(update=verdict), results)


def _stage(recipe: Any) -> dict[str, Any]:
    stages = recipe.get("stages") if isinstance(recipe, dict) else None
    named = [pair for stage in stages or () if isinstance(stage, dict) for pair in stage.items()]
    return next((dict(given or {}) for name, given in reversed(named) if stage_kind(str(name)) == "evaluate"), {})


def _joined(before: Arm | None, new: Arm) -> Arm:
    if before is None:
        return new
    metrics = before.metrics | new.metrics
    return Arm(
        metrics={key: metrics[key] for key in (*METRICS, *metrics) if key in metrics},
        failure_modes=before.failure_modes | new.failure_modes,
        length=new.length or before.length,
    )
