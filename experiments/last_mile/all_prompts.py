"""The finished runs of `run.py` on every test prompt, where a recipe takes a part of them.

    python experiments/last_mile/all_prompts.py --task quickstart --seeds 0 1 2

Outputs lie beside each run's own, in `evaluation/all_prompts.jsonl`; what is there is not generated again. The last
line is one JSON object like those of `run.py`, for `table.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from run import TASKS, VARIANTS, reward_tables

from homestretch import RunFolder, evaluate_rows, load_recipe
from homestretch.evaluate import read_rows
from homestretch.metrics.postprocess import postprocess_row
from homestretch.results import write_text
from homestretch.training.stages.evaluate import ARMS
from homestretch.verbs.generate import generate


def outputs(run: RunFolder) -> list[dict[str, Any]]:
    """Greedy outputs of the run's two models for the whole test split, raw and post-processed."""
    file = run.generations.with_name("all_prompts.jsonl")
    if file.is_file():
        return read_rows(file)
    data, rows = load_recipe(run.recipe).dataset, []
    for stage in run.stage_folders():
        kind = stage.path.name.split("-", 1)[1]
        if kind not in ARMS:
            continue
        made = generate(
            stage.model,
            data.name,
            max_new_tokens=data.max_completion_length,
            max_prompt_length=data.max_prompt_length,
            arm=f"{ARMS[kind]}_raw",
        )
        rows += [*made, *(postprocess_row(row, arm=f"{ARMS[kind]}_post") for row in made)]
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def main() -> None:
    """Generate, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="quickstart")
    parser.add_argument("--variant", choices=VARIANTS, default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/last_mile"))
    args = parser.parse_args()
    runs = [RunFolder(args.out / args.task / args.variant / str(seed)) for seed in args.seeds]
    pooled = evaluate_rows([row for run in runs for row in outputs(run)], seed=0).model_dump(mode="json")
    line = {"task": f"{args.task}, whole test split", "variant": args.variant, "seeds": args.seeds}
    print(json.dumps(line | pooled | {"reward_model": reward_tables(runs)}))


if __name__ == "__main__":
    main()
