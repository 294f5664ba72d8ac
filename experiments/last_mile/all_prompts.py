"""The finished runs of `run.py` on every test prompt, where a recipe takes a part of them.

    python experiments/last_mile/all_prompts.py --task quickstart --seeds 0 1 2
    python experiments/last_mile/all_prompts.py --quick --seeds 0

`--quick` and `--small` take the runs that `run.py` made with the same word. Outputs lie beside each run's own, in
`evaluation/all_prompts.jsonl`; what is there is not generated again. The last line is one JSON object like those of
`run.py`, for `table.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from run import TASKS, VARIANTS, reward_tables

from homestretch import RunFolder, evaluate_rows, load_recipe
from homestretch.config.stages import stage_kind
from homestretch.evaluate import read_rows
from homestretch.metrics.postprocess import postprocess_row
from homestretch.training.stages.evaluate import arms
from homestretch.verbs.generate import generate
from homestretch.writing import write_rows

QUICK_PROMPTS = 32
"""Of the test split with `--quick`; the runs themselves are tested on fewer."""


def outputs(run: RunFolder, limit: int | None) -> list[dict[str, Any]]:
    """Greedy outputs of the run's two models for the whole test split, or `limit` of it, raw and post-processed."""
    file = run.generations.with_name("all_prompts.jsonl")
    if file.is_file():
        return read_rows(file)
    data, rows = load_recipe(run.recipe).dataset, []
    stages = {stage_kind(stage.path.name.split("-", 1)[1]): stage for stage in run.stage_folders()}
    for short, kind in arms(stages).items():
        made = generate(
            stages[kind].model,
            data.name,
            max_examples=limit,
            max_new_tokens=data.max_completion_length,
            prompt_suffix=data.prompt_suffix,
            max_prompt_length=data.max_prompt_length,
            arm=f"{short}_raw",
        )
        rows += [*made, *(postprocess_row(row, arm=f"{short}_post") for row in made)]
    write_rows(file, rows)
    return rows


def main() -> None:
    """Generate, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="quickstart")
    parser.add_argument("--variant", choices=VARIANTS, default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/last_mile"))
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--small", action="store_true", help="the runs with fewer rows and rounds")
    args = parser.parse_args()
    name, limit = ("quick", QUICK_PROMPTS) if args.quick else ("small" if args.small else "", None)
    root = args.out / name / args.task / args.variant
    runs = [RunFolder(root / str(seed)) for seed in args.seeds]
    pooled = evaluate_rows([row for run in runs for row in outputs(run, limit)], seed=0).model_dump(mode="json")
    prompts = f"{limit} test prompts" if limit else "whole test split"
    task = ", ".join([args.task, *([f"{name} budget"] if name else []), prompts])
    line = {"task": task, "variant": args.variant, "seeds": args.seeds}
    print(json.dumps(line | pooled | {"reward_model": reward_tables(runs)}))


if __name__ == "__main__":
    main()
