"""What each class of failures teaches the reward model: leave it out of training, measure on it all the same.

    python experiments/last_mile/classes.py --task webnlg --small --data ../shared/data
    python experiments/last_mile/classes.py --task quickstart --quick

For each class a reward model is trained on the pairs of `run.py`'s full run without that class, and once on all of
them. Each is measured on held-out pairs of every class, the one that it never saw among them, and picks the best of
four samples of each test prompt: what RL would climb, without the noise of a run of RL. The last line is one JSON
object; `table.py` makes a table out of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prepare import FEW_WORDS, MAX_WORDS, prepared
from run import QUICK, SMALL, TASKS, recipe_of

from homestretch import Example, RunFolder, generate, load_data, score_rows
from homestretch.config.recipe import Recipe, load_recipe
from homestretch.evaluate import evaluate_rows, read_rows
from homestretch.training.pipeline import run_recipe
from homestretch.writing import write_rows

SAMPLES = 4
NONE, ANY = "none", "any"
"""Names of the reward model on all classes, and of taking any one of the samples."""
QUICK_CLASSES = ("copy", "shuffled")


def started(recipe: Recipe, folder: Path, full: Path) -> RunFolder:
    """The run up to its failure modes; what `run.py` has done already is taken over."""
    stages = [stage for stage in recipe.stages if stage.kind in ("sft", "negatives")]
    return run_recipe(recipe.model_copy(update={"stages": stages}), folder, others=[RunFolder(full)])


def write_pairs(run: RunFolder, folder: Path, held_out: str | None, prompts: list[dict[str, Any]]) -> list[str]:
    """The run's pairs without the class that the recipe never trains on; the names of the classes that are left.

    The other two splits are of no use here, but a data set that lacks them would be cut.
    """
    source = next(stage.path for stage in run.stage_folders() if stage.path.name.endswith("negatives"))
    rows = [json.loads(line) for line in (source / "negatives.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [row for row in rows if row["failure_mode"] != held_out]
    for split, rows in {"train": kept, "validation": prompts[::2], "test": prompts[1::2]}.items():
        write_rows(folder / f"{split}.jsonl", rows)
    return sorted({row["failure_mode"] for row in kept})


def reward_without(recipe: Recipe, model: Path, pairs: Path, left_out: str, folder: Path) -> RunFolder:
    """A reward model on pairs without one class, `none` for all classes."""
    everything = dict.fromkeys(("max_train", "max_validation", "max_test"))
    ours = {"name": str(pairs), "split": {}, "prompt_suffix": ""}
    data = recipe.dataset.model_dump(mode="json") | everything | ours
    held_out = None if left_out == NONE else left_out
    reward = recipe.find("reward")
    assert reward is not None
    values = {
        "model_name_or_path": str(model),
        "seed": recipe.seed,
        "dataset": data,
        "stages": [{"negatives": {"held_out": held_out}}, {"reward": reward.model_dump(mode="json")}],
    }
    return run_recipe(load_recipe(values), folder)


def test_prompts(recipe: Recipe, folder: Path) -> list[Example]:
    """The test split as the recipe draws it."""
    data = recipe.dataset
    return load_data(
        data.name,
        seed=recipe.seed,
        max_test=data.max_test,
        prompt_suffix=data.prompt_suffix,
        on_bad_row=data.on_bad_row,
        rejected=folder / "rejected.jsonl",
    ).test


def sampled(recipe: Recipe, model: Path, test: list[Example], prompts: Path, file: Path) -> list[dict[str, Any]]:
    """Samples of each test prompt at temperature 1, those of a prompt side by side."""
    if file.is_file():
        return read_rows(file)
    rows = generate(
        model,
        prompts,
        temperature=1.0,
        num_samples=SAMPLES,
        max_new_tokens=recipe.dataset.max_completion_length,
        max_prompt_length=recipe.dataset.max_prompt_length,
        seed=recipe.seed,
        arm=ANY,
    )
    source = {e.id: e.source for e in test}
    rows = [row | {"source": source[row["id"]]} for row in rows]
    write_rows(file, rows)
    return rows


def picked(rows: list[dict[str, Any]], rewards: list[float], arm: str) -> list[dict[str, Any]]:
    """The sample of each prompt with the highest reward."""
    best: dict[str, int] = {}
    for i, row in enumerate(rows):
        if row["id"] not in best or rewards[i] > rewards[best[row["id"]]]:
            best[row["id"]] = i
    return [rows[i] | {"arm": arm} for i in best.values()]


def main() -> None:
    """Train, pick and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="quickstart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with scitldr/ and webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/last_mile"))
    parser.add_argument("--classes", nargs="+", default=None, metavar="CLASS", help="those to leave out; default all")
    parser.add_argument("--quick", action="store_true", help="two classes in a few minutes, to see that it works")
    parser.add_argument("--small", action="store_true", help="the budget of that name in run.py")
    args = parser.parse_args()
    name, budget = ("quick", QUICK) if args.quick else ("small", SMALL[args.task]) if args.small else ("", [])
    data = args.data / args.task
    if args.task != "quickstart":
        data = prepared(data, args.out / name / "data" / args.task, max_words=FEW_WORDS if name else MAX_WORDS)
    recipe = recipe_of(args.task, "full", args.seed, data, budget)
    root = args.out / name / args.task
    folder = root / "classes" / str(args.seed)
    run = started(recipe, folder / "start", root / "full" / str(args.seed))
    model, pairs, samples = run.path / "model", folder / "pairs", folder / "samples.jsonl"
    test = test_prompts(recipe, folder)
    prompts = [{"id": e.id, "prompt": e.prompt, "references": list(e.references)} for e in test]
    write_rows(folder / "prompts.jsonl", prompts)
    classes = write_pairs(run, pairs, recipe.find("negatives").held_out, prompts)
    rows = sampled(recipe, model, test, folder / "prompts.jsonl", samples)
    arms, modes = list(rows), {}
    chosen = args.classes or (QUICK_CLASSES if args.quick else classes)
    for left_out in (NONE, *(name for name in classes if name in chosen)):
        fitted = reward_without(recipe, model, pairs, left_out, folder / left_out)
        modes[left_out] = json.loads((fitted.stage(2, "reward").path / "reward_model.json").read_text())
        rewards = [row["reward"] for row in score_rows(fitted.path, samples)]
        arms += picked(rows, rewards, left_out)
    against = [(left_out, NONE) for left_out in modes if left_out != NONE] + [(NONE, ANY)]
    found = evaluate_rows(arms, metrics=["la_rougeL", "rougeL", "length_ratio"], seed=0, comparisons=against)
    task = f"{args.task}, {name} budget" if name else args.task
    line = {"task": task, "seed": args.seed, "left_out": modes} | found.model_dump(mode="json")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
