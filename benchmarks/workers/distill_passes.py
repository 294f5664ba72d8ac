"""A pass of the stage `distill` over texts that do not change: the first, which asks the teacher, or the second."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol import answer

from homestretch import load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages import distill

ASKING = "stored_texts", "stored_laws"
"""What the stage calls for the teacher's texts and for what it thinks of each token, before the first step."""


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The function, whose time is added to `seconds`."""

    def call(*args: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        found = function(*args, **options)
        seconds.append(time.perf_counter() - begun)
        return found

    return call


def pass_rate(rows: list[dict[str, float]], number: int, asking: float) -> float:
    """Tokens a second of pass `number`, the last of as many equal ones that the rows log; the first takes the `asking`
    seconds too."""
    steps = [row for row in rows if "num_tokens" in row and "seconds" in row]
    before = len(steps) * (number - 1) // number
    start = steps[before - 1] if before else {"num_tokens": 0, "seconds": -asking}
    return (steps[-1]["num_tokens"] - start["num_tokens"]) / (steps[-1]["seconds"] - start["seconds"])


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--pass", dest="number", type=int, choices=(1, 2), required=True)
    args = parser.parse_args()
    recipe = load_recipe(find_recipe(args.recipe), [*args.overrides, f"distill.num_train_epochs={args.number}"])
    asking: list[float] = []
    for name in ASKING:
        setattr(distill, name, timed(getattr(distill, name), asking))

    def work() -> float:
        with tempfile.TemporaryDirectory() as name:
            (stage,) = run_recipe(recipe, Path(name) / "run").stage_folders()
            rows = [json.loads(line) for line in stage.metrics.read_text().splitlines()]
        return pass_rate(rows, args.number, sum(asking))

    answer(work)


if __name__ == "__main__":
    main()
