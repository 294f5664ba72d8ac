"""Stages of homestretch that differ in one setting, in turn, in one process or in several under `accelerate launch`.

    python workers/scaling_points.py POINTS.json OUT.json      a recipe's path and its overrides for each point

Writes seconds of a round, without the first, and bytes of the peak of each point's only stage; with `predict` in the
file, what the doctor says of both as well.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from protocol import steady_rate

from homestretch import doctor, load_recipe
from homestretch.config.recipe import Recipe
from homestretch.config.shipped import find_recipe
from homestretch.results import RunFolder
from homestretch.training.pipeline import run_recipe


def measured(run: RunFolder) -> dict[str, float]:
    """Of a finished run with one stage."""
    (stage,) = run.stage_folders()
    rows = [json.loads(line) for line in stage.metrics.read_text().splitlines()]
    steps = [row for row in rows if "num_tokens" in row]
    rate = steady_rate([float(row["step"]) for row in steps], [row["seconds"] for row in steps])
    return {"seconds": 1 / rate, "peak": json.loads(stage.record.read_text())["peak_memory_bytes"]}


def told(recipe: Recipe) -> dict[str, float]:
    """What the doctor says of the only stage: bytes of the peak, and seconds of a round."""
    found = doctor(recipe)
    (stage,) = recipe.stages
    return {
        "predicted": found.memory[stage.name],
        "predicted_seconds": found.seconds[stage.name] / stage.config.max_steps,
    }


def main() -> None:
    """Run every point; the first process writes."""
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    found = []
    with tempfile.TemporaryDirectory() as own:
        folder = Path(os.environ.get("SCALING_RUNS", own))  # several processes share one
        for number, overrides in enumerate(task["points"]):
            recipe = load_recipe(find_recipe(task["recipe"]), overrides)
            predicted = told(recipe) if task["predict"] else {}
            found.append(measured(run_recipe(recipe, folder / str(number))) | predicted)
    if os.environ.get("RANK", "0") == "0":
        Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
