"""Fit a reward model on a user's pairs, and score text with one that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from homestretch.config.recipe import load_recipe
from homestretch.data.records import Example
from homestretch.data.sources import examples_of
from homestretch.errors import InputError
from homestretch.results import RunFolder
from homestretch.verbs.run import Overrides, own_pairs
from homestretch.writing import check_writable, write_rows

Device = Literal["auto", "cpu", "cuda", "mps"]
ROWS_AT_ONCE = 64


def fit_reward(
    data: str | Path,
    *,
    model: str | Path = "builtin/smollm2-135m",
    out: str | Path,
    on_bad_row: str = "error",
    overrides: Overrides = (),
) -> RunFolder:
    """Fit a reward model on failure modes made of the pairs, or on their own `rejected` responses where they have some.

    It stands in `out`/stages/02-reward/model. `overrides` are recipe settings such as `["reward.kind=pairwise"]`.
    Raises InputError.
    """
    recipe = load_recipe({"stages": ["negatives", "reward"]}, own_pairs(data, model, on_bad_row, overrides))

    from homestretch.training.pipeline import run_recipe

    return run_recipe(recipe, out)


def score_rows(
    reward_model: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: Literal["train", "validation", "test"] = "test",
    device: Device = "auto",
) -> list[dict[str, Any]]:
    """The reward (a logit) of every row's `text`, or of its completion: `{"id", "prompt", "text", "reward"}`.

    `data` is a file (rows of `generations.jsonl` are understood), a folder, a Hub name or `builtin/docstrings`;
    `reward_model` is the folder of a reward model, of a run that has one, or of a reward of features. Raises
    InputError.
    """
    if out is not None:
        check_writable(out)
    from homestretch.rewards.features import SETTINGS
    from homestretch.verbs.features import score_features

    examples = examples_of(data, split)
    rows = text_rows(examples)
    given, texts, ended = ([row[key] for row in rows] for key in ("given", "text", "terminated"))
    folder = reward_folder(Path(reward_model))
    if (folder / SETTINGS).is_file():
        rewards = score_features(folder, examples, texts)
    else:
        rewards = score_texts(folder, given, texts, ended, device=device)
    made = [
        {"id": row["id"], "prompt": row["prompt"], "text": row["text"], "reward": reward}
        for row, reward in zip(rows, rewards, strict=True)
    ]
    if out is not None:
        write_rows(out, made)
    return made


def score_texts(
    folder: Path, prompts: Sequence[Any], texts: Sequence[str], terminated: Sequence[bool], *, device: Device = "auto"
) -> list[float]:
    """The reward model's logit of each text; `terminated` says which texts end by themselves. Raises InputError."""
    from homestretch.policies.load import choose_device
    from homestretch.progress import progress
    from homestretch.rewards.model import load_reward

    scorer, found = load_reward(folder, device=choose_device(device)), list[float]()
    with progress(len(texts), "score", "row") as bar:
        for at in range(0, len(texts), ROWS_AT_ONCE):
            part = slice(at, at + ROWS_AT_ONCE)
            found += scorer(prompts[part], texts[part], terminated=terminated[part])
            bar.advance(len(texts[part]))
    return found


def reward_folder(path: Path) -> Path:
    """The reward model of a run, or the folder itself. Raises InputError."""
    if not RunFolder(path).stages.is_dir():
        return path
    found = sorted(RunFolder(path).stages.glob("*-reward*/model"))
    if not found:
        raise InputError(f"{path}: this run has no reward model; give the folder of one.")
    return found[-1]


def text_rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Rows with what a reward model reads of each example, which it was `given`. Raises InputError."""
    rows = []
    for e in examples:
        text = e.columns.get("text", e.references[0] if e.references else None)
        if not isinstance(text, str):
            raise InputError(f"{e.where}: there is nothing to score; give a column `text` or `completion`.")
        ended = e.columns.get("terminated") is not False
        rows.append({"id": e.id, "prompt": e.prompt, "given": e.prompt, "text": text, "terminated": ended})
    return rows
