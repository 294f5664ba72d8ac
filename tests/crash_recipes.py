"""Recipes on tiny models of random weights that together run every stage in less than a minute."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from test_modpo_stage import rejected
from test_pipeline import pairs

from homestretch.config.recipe import dump, load_recipe
from homestretch.config.stages import STAGES

START, END = "start", "end"
SMALL = {
    "max_steps": 6, "train_batch_size": 6, "eval_examples": 2, "eval_steps": 2, "lora_r": 4, "learning_rate": 3e-3,
    "bf16": False,
}  # fmt: skip
WHOLE = {**SMALL, "use_peft": False}
ROUNDS = {"max_steps": 4, "rollout_batch_size": 8, "train_batch_size": 4, "num_generations": 4}
OVERLAP = {"rewards": {"overlap": 10.0}}
REWARD = {"max_steps": 6, "train_batch_size": 8, "lora_r": 4, "bf16": False}
HALF = {"weight": 0.5, "rewards": {"concise": 0.5}}
SOURCES = {"offline": 0.5, "online_student": 0.5}
EVALUATE = {
    "evaluate": {"max_examples": 6, "metrics": ["rougeL", "la_rougeL", "distinct2"], "rewards": {"concise": 1.0}}
}


@dataclass(frozen=True)
class Course:
    """A recipe's file, and the folders of its stages in their order."""

    name: str
    file: Path
    stages: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """Where a process can be killed: before the first stage, in each of them, behind the last one."""
        return (START, *self.stages, END)

    @property
    def command(self) -> list[str]:
        """What starts it, and goes on with it."""
        return ["train", str(self.file), "--out", "run"]


def courses(folder: Path) -> list[Course]:
    """Recipes that a kill campaign goes through, with their models and data in the folder; every stage is in one."""
    llama, gpt2, t5 = (tiny.save(folder / name, name) for name in ("llama", "gpt2", "t5"))
    teacher, other = (tiny.save(folder / f"llama-{seed}", "llama", seed=seed, std=0.2) for seed in (7, 8))
    plain = _data(folder / "pairs.jsonl")
    rewarded = _data(folder / "rewarded.jsonl", reward=lambda row, i: (i % 4) / 4)
    ranked = _data(folder / "ranked.jsonl", rejected=rejected)
    made = [
        _course(
            folder,
            "last-mile",
            llama,
            plain,
            [
                {"sft": SMALL},
                "negatives",
                {"reward": REWARD},
                {"ppo": {**SMALL, **ROUNDS, "num_generations": 2, "value_warmup_steps": 1}},
                EVALUATE,
                "report",
            ],
        ),
        _course(
            folder,
            "stored-responses",
            t5,
            rewarded,
            [
                {"ift": SMALL},
                {"wbc": SMALL},
                {"gold": SMALL},
                {"value": {"responses": "stored", "num_train_epochs": 2, "train_batch_size": 4, "bf16": False}},
                {"alol": SMALL},
                EVALUATE,
            ],
        ),
        _course(
            folder,
            "pairs-and-groups",
            gpt2,
            ranked,
            [
                {"dpo": WHOLE},
                {"modpo": {**WHOLE, **HALF}},
                {"rloo": {**WHOLE, **ROUNDS, **OVERLAP}},
                {"grpo": {**WHOLE, **ROUNDS, **OVERLAP, "standardise": True}},
                EVALUATE,
            ],
        ),
        _course(
            folder,
            "mixtures",
            llama,
            plain,
            [
                {"distill": {**SMALL, "teacher_name_or_path": teacher, "source": SOURCES}},
                {"soup": {"models": {teacher: 0.5, other: 0.5}}},
                {"best_of": {"num_samples": 4, "rewards": {"concise": 0.5, "coverage": 0.5}}},
                EVALUATE,
                "report",
            ],
        ),
    ]
    there = {stage.split("-", 1)[1] for course in made for stage in course.stages}
    assert there == set(STAGES), f"no recipe runs {sorted(set(STAGES) - there)}"
    return made


def short(folder: Path) -> Course:
    """One stage of training that takes a few seconds, and an evaluation."""
    model, data = tiny.save(folder / "model", "llama"), _data(folder / "pairs.jsonl")
    return _course(folder, "short", model, data, [{"sft": {**SMALL, "max_steps": 60, "eval_steps": 10}}, EVALUATE])


def scored(folder: Path) -> Course:
    """A stage that reads what a reward model has said, which is kept in the cache."""
    model, data = tiny.save(folder / "model", "llama"), _data(folder / "pairs.jsonl")
    return _course(folder, "scored", model, data, [{"sft": SMALL}, "negatives", {"reward": REWARD}, {"wbc": SMALL}])


def _course(folder: Path, name: str, model: str, data: str, stages: list[Any]) -> Course:
    recipe = load_recipe(
        {
            "model_name_or_path": model,
            "dataset": {"name": data, "max_completion_length": 16},
            "device": "cpu",
            "stages": stages,
        }
    )
    file = folder / f"{name}.yaml"
    file.write_text(dump(recipe), encoding="utf-8")
    return Course(name, file, tuple(f"{i:02d}-{stage.name}" for i, stage in enumerate(recipe.stages, start=1)))


def _data(file: Path, **columns: Any) -> str:
    rows = [row | {key: column(row, i) for key, column in columns.items()} for i, row in enumerate(pairs(60))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)
