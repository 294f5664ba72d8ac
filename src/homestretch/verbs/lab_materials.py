"""What the lab of teacher hacking is made of: prompts, an oracle, its samples, and for each seed a teacher and a
student that have learnt from these."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from homestretch.config.distill import DistillConfig
from homestretch.config.lab import CASES, KEPT, LabOverrides, sft_recipe
from homestretch.config.recipe import DatasetConfig, Recipe, load_recipe
from homestretch.config.yaml import inline
from homestretch.data.records import Example, cued
from homestretch.data.sources import Splits, load
from homestretch.errors import DataError, InputError
from homestretch.lab import LabFolder
from homestretch.progress import say
from homestretch.results import RunFolder
from homestretch.seeds import fold
from homestretch.verbs.generate import generate
from homestretch.writing import write_rows

NAMES = ("oracle", "teacher", "student")
SMALL = ["dataset.max_prompt_length=96", "dataset.max_completion_length=48"]
"""Lengths of models that start from nothing, before the user's own overrides."""
HELD_OUT = 64
"""Validation prompts at most whose samples choose the checkpoints of teacher and student."""


@dataclass(frozen=True)
class Bench:
    """The lab's folder, what was asked for, the data's settings, and the given models by name; the others start from
    nothing."""

    folder: LabFolder
    asked: LabOverrides
    dataset: DatasetConfig
    given: dict[str, str]
    tokenizer: str | None = None

    @property
    def scratch(self) -> bool:
        """Whether teacher and student start from nothing."""
        return "student" not in self.given

    @property
    def tokens_of(self) -> str:
        """The model whose tokenizer all have."""
        given = self.given.get("student") or self.given.get("oracle")
        return given or str(self.folder.untrained("oracle", 0))

    def dataset_of(self, part: str) -> dict[str, Any]:
        """Settings of a data set that the lab has written."""
        # A sampled text may have more tokens than it was sampled with once it is read again.
        own = {"name": str(self.folder.data / part), "on_bad_row": "skip"}
        return own | self.dataset.model_dump(include=set(KEPT))

    @property
    def device(self) -> list[str]:
        """Overrides that every recipe takes."""
        return [text for text in self.asked.shared if not text.strip().startswith("dataset.")]

    def oracle_recipe(self) -> Recipe:
        """The training of an oracle that is not given. Raises RecipeError."""
        start, overrides = str(self.folder.untrained("oracle", 0)), [*self.device, *self.asked.oracle]
        return sft_recipe(start, self.dataset_of("pairs"), scratch=True, seed=0, overrides=overrides)

    def learner_recipe(self, name: str, seed: int) -> Recipe:
        """The training of teacher or student on the oracle's samples. Raises RecipeError."""
        start = self.given.get(name) or str(self.folder.untrained(name, seed))
        samples, overrides = self.dataset_of(f"samples/{seed}"), [*self.device, *self.asked.sft]
        return sft_recipe(start, samples, scratch=self.scratch, seed=seed, overrides=overrides)


def dataset_settings(data: str, shared: Sequence[str], *, scratch: bool) -> DatasetConfig:
    """The data's settings with the user's overrides. Raises RecipeError."""
    ours = [f"dataset.name={inline(data)}", *(SMALL if scratch else [])]
    return load_recipe({"stages": ["sft"]}, [*ours, *shared]).dataset


def check_given(bench: Bench) -> None:
    """Raise InputError unless the given models fit each other, before anything is trained."""
    from homestretch.policies.load import choose_device
    from homestretch.training.context import Context
    from homestretch.training.pipeline import EMPTY
    from homestretch.training.stages.distill import check_references

    if bench.scratch:
        _check_causal(bench.given["oracle"])
        return
    oracle, teacher, student = (bench.given[name] for name in NAMES)
    recipe = load_recipe({"model_name_or_path": student, "stages": ["sft"]}, bench.device)
    context = Context(recipe, bench.folder.oracle, EMPTY, student, choose_device(recipe.device))
    check_references(context, DistillConfig(teacher_name_or_path=teacher, oracle_name_or_path=oracle))


def _check_causal(oracle: str) -> None:
    from homestretch.policies.load import load_config

    if load_config(oracle).is_encoder_decoder:
        raise InputError(
            f"The oracle `{oracle}` has an encoder, and models that start from nothing have none; give --teacher and "
            "--student of its kind too, or an oracle without one."
        )


def prepare(bench: Bench) -> str:
    """Write the prompts, and models that start from nothing; gives a line about the data. Raises InputError."""
    data = bench.dataset
    splits = load(
        data.name,
        columns=data.columns,
        split=data.split,
        on_bad_row="skip",
        rejected=bench.folder.path / "rejected.jsonl",
        max_train=data.max_train,
        max_validation=data.max_validation,
        max_test=data.max_test,
    )
    if not bench.given:
        _untrained(bench, splits)
    splits = _fitting(bench, splits)
    lab = bench.asked.lab
    validation = _distinct(splits.validation)[: lab.validation_prompts + 1]
    prompts = _distinct(splits.train)
    random.Random(fold("lab", 0)).shuffle(prompts)
    wanted = lab.oracle_prompts + lab.distill_prompts
    if len(prompts) < wanted or len(validation) < 2:
        raise InputError(
            f"{data.name}: {len(prompts):,} training and {len(validation):,} validation prompts are short enough, and "
            f"the lab wants {wanted:,} and two at least; lower lab.oracle_prompts and lab.distill_prompts, or raise "
            "dataset.max_prompt_length and dataset.max_completion_length."
        )
    for part, train in (
        ("pairs", splits.train),
        ("first", prompts[: lab.oracle_prompts]),
        ("second", prompts[lab.oracle_prompts : wanted]),
    ):
        _write(bench.folder.data / part / "train.jsonl", train)
        _write(bench.folder.data / part / "validation.jsonl", validation[:-1])
        _write(bench.folder.data / part / "test.jsonl", validation[-1:])  # or a part of the others would be cut off
    return splits.description


def oracle_of(bench: Bench) -> str:
    """The given oracle, or one that is trained on the data's pairs."""
    if "oracle" in bench.given:
        return bench.given["oracle"]
    from homestretch.training.pipeline import run_recipe

    return str(run_recipe(bench.oracle_recipe(), bench.folder.oracle.path).path / "model")


def learners(bench: Bench, oracle: str, seed: int) -> tuple[str, str]:
    """Teacher and student after training on the oracle's samples; as they were given where there are to be none."""
    if bench.asked.lab.oracle_prompts == 0:
        return bench.given["teacher"], bench.given["student"]
    from homestretch.training.pipeline import run_recipe

    for split in ("test", "validation", "train"):
        _sampled(bench, oracle, split, bench.folder.data / f"samples/{seed}/{split}.jsonl", seed=seed)
    made = []
    for name in NAMES[1:]:
        if name not in bench.given:
            _start(bench, name, seed)
        recipe = bench.learner_recipe(name, seed)
        made.append(str(run_recipe(recipe, bench.folder.model(name, seed).path).path / "model"))
    return made[0], made[1]


def others_of(folder: LabFolder, seed: int, name: str) -> list[RunFolder]:
    """Runs of the other cases with the same seed, which may have written the same texts already."""
    return [folder.run(other, seed) for other in CASES if other != name]


def _untrained(bench: Bench, splits: Splits) -> None:
    folder = bench.folder.untrained("oracle", 0)
    if (folder / "model.safetensors").is_file():
        return
    from homestretch.data.prompts import end_marker
    from homestretch.data.records import completion_text, prompt_text
    from homestretch.policies.load import load_tokenizer
    from homestretch.policies.scratch import learnt_tokenizer, untrained

    texts = (part for e in splits.train for part in (prompt_text(cued(e, bench.dataset.prompt_suffix)), "\n"))
    answers = (completion_text(e) for e in splits.train)
    size = bench.asked.lab.vocabulary
    tokenizer = (
        load_tokenizer(bench.tokenizer) if bench.tokenizer else learnt_tokenizer([*texts, *answers], vocabulary=size)
    )
    end_marker(tokenizer)
    untrained(folder, tokenizer, **_shape(bench, "oracle"), seed=0)


def _start(bench: Bench, name: str, seed: int) -> None:
    """Write a teacher or student that has learnt nothing."""
    from homestretch.policies.load import load_tokenizer
    from homestretch.policies.scratch import untrained

    folder = bench.folder.untrained(name, seed)
    if not (folder / "model.safetensors").is_file():
        untrained(folder, load_tokenizer(bench.tokens_of), **_shape(bench, name), seed=fold(name, seed))


def _shape(bench: Bench, name: str) -> dict[str, int]:
    i, lab, data = NAMES.index(name), bench.asked.lab, bench.dataset
    positions = data.max_prompt_length + data.max_completion_length
    return {"width": lab.widths[i], "layers": lab.layers[i], "positions": positions}


def _fitting(bench: Bench, splits: Splits) -> Splits:
    """The examples that are short enough for the models."""
    from homestretch.data.tokenize import length_check
    from homestretch.policies.load import load_config, load_tokenizer

    data = bench.dataset
    check = length_check(
        load_tokenizer(bench.tokens_of),
        is_encoder_decoder=bool(load_config(bench.tokens_of).is_encoder_decoder),
        max_prompt_length=data.max_prompt_length,
        max_completion_length=data.max_completion_length,
    )

    def fits(example: Example) -> bool:
        try:
            check(cued(example, data.prompt_suffix))
        except DataError:
            return False
        return True

    parts = {name: [e for e in getattr(splits, name) if fits(e)] for name in ("train", "validation", "test")}
    left_out = sum(len(getattr(splits, name)) - len(part) for name, part in parts.items())
    say(f"{splits.description} {left_out:,} rows are too long for the lab and left out.")
    return replace(splits, **parts)


def _distinct(examples: Sequence[Example]) -> list[Example]:
    """The first example of each prompt."""
    return list({repr(e.prompt): e for e in reversed(examples)}.values())[::-1]


def _write(path: Path, examples: Sequence[Example]) -> None:
    if not path.is_file():
        write_rows(path, [_row(e, e.completion) for e in examples])


def _row(example: Example, completion: Any) -> dict[str, Any]:
    return {"prompt": example.prompt, "completion": completion}


def _sampled(bench: Bench, oracle: str, split: str, path: Path, *, seed: int) -> None:
    """What the oracle writes to the prompts of a split, those of its texts that end and are not empty."""
    if path.is_file():
        return
    data = bench.dataset
    source = bench.folder.data / "first" / f"{split}.jsonl"
    rows = generate(
        oracle,
        source,
        temperature=1.0,
        max_new_tokens=data.max_completion_length,
        max_examples=HELD_OUT if split == "validation" else None,
        prompt_suffix=data.prompt_suffix,
        max_prompt_length=data.max_prompt_length,
        seed=fold("oracle", split, seed),
        device=load_recipe({"stages": ["sft"]}, bench.device).device,
    )
    examples = load(source, shares=(0.0, 0.0)).train
    whole = [_row(e, row["text"]) for e, row in zip(examples, rows, strict=False) if row["terminated"] and row["text"]]
    # nobody reads the test rows, but a split that is not there is cut off the training rows
    kept = whole if split != "test" else whole or [_row(examples[0], "-")]
    if split == "train":
        say(f"lab: {len(kept):,} of {len(rows):,} samples of the oracle end and are not empty; the rest are left out.")
    if not kept:
        if any(row["terminated"] for row in rows):
            raise InputError(
                f"All texts of the oracle `{oracle}` that end are empty, so that nothing can be learnt from it: train "
                "it on prompts like these, or set dataset.prompt_suffix to show where an answer begins."
            )
        raise InputError(
            f"The oracle `{oracle}` wrote no text that ends within dataset.max_completion_length="
            f"{data.max_completion_length} tokens; raise it, or train the oracle for longer."
        )
    write_rows(path, kept)
