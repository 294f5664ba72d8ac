"""A training stage of homestretch, as its users run it: a recipe, a folder, `metrics.jsonl`."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from protocol import answer, steady_rate

from homestretch import load_recipe
from homestretch.config.recipe import dump
from homestretch.config.shipped import find_recipe
from homestretch.training.pipeline import run_recipe


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    parser.add_argument("unit", help="the key of metrics.jsonl that counts, such as num_tokens")
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--each", type=float, default=1.0, help="what one unit counts, such as samples of a step")
    parser.add_argument("--start", type=Path, help="a run whose stages come before")
    args = parser.parse_args()
    recipe = load_recipe(find_recipe(args.recipe), args.overrides)

    def work() -> float:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run"
            if args.start:
                shutil.copytree(args.start / "stages", folder / "stages")
                (folder / "recipe.yaml").write_text(dump(recipe))
            run = run_recipe(recipe, folder)
            (stage,) = [s for s in run.stage_folders() if s.path.name.endswith(f"-{args.stage}")]
            rows = [json.loads(line) for line in (stage.path / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if args.unit in row and "seconds" in row]
        return steady_rate([args.each * row[args.unit] for row in steps], [row["seconds"] for row in steps])

    answer(work)


if __name__ == "__main__":
    main()
