"""Generate for every prompt of a data set: rows as in `generations.jsonl`, ready for `evaluate` and `audit`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homestretch.data.files import READERS, RawRow, read_file
from homestretch.data.records import Example, example_from_row, prompt_text
from homestretch.data.sources import load
from homestretch.errors import InputError
from homestretch.results import write_text

if TYPE_CHECKING:
    from homestretch.generation.sampling import SamplingConfig

ANSWERS = {"completion", "references", "chosen", "messages"}
Split = Literal["train", "validation", "test"]


def generate(
    model: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: Split = "test",
    max_examples: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_new_tokens: int = 96,
    max_prompt_length: int = 512,
    num_samples: int = 1,
    seed: int = 0,
    arm: str = "ml_raw",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> list[dict[str, Any]]:
    """Outputs of `model` for the prompts of `data`, greedy unless a temperature is given.

    All rows of a file are taken; of anything else the given split. Prompts longer than `max_prompt_length` tokens lose
    their middle. A row without an answer is fine. Writes JSONL to `out` where that is given. Raises InputError.
    """
    from homestretch.generation import engine
    from homestretch.generation.sampling import SamplingConfig
    from homestretch.policies.load import choose_device, end_ids, load_tokenizer, load_trunk
    from homestretch.policies.policy import Policy
    from homestretch.policies.precision import autocast
    from homestretch.progress import progress

    sampling: SamplingConfig = SamplingConfig.parse(
        {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_new_tokens": max_new_tokens}, where="generate"
    )
    examples = examples_of(data, split)[:max_examples]
    tokenizer = load_tokenizer(str(model))
    trunk = load_trunk(str(model), device=choose_device(device))
    prompts = _prompts(examples, tokenizer, trunk.is_encoder_decoder, max_prompt_length)
    with progress(len(prompts) * num_samples, "generate", "sample") as bar:
        made = engine.generate(
            Policy(trunk, None, budget=4096, autocast=autocast(trunk.device)),
            prompts,
            eos_ids=end_ids(trunk.lm, tokenizer),
            sampling=sampling,
            seed=seed,
            num_samples=num_samples,
            on_done=lambda rows, tokens: bar.advance(rows, tokens=tokens),
        )
    rows = []
    for example, samples in zip(examples, made, strict=True):
        for sample in samples:
            text = str(tokenizer.decode(sample.ids, skip_special_tokens=True)).strip()
            rows.append(_row(example, arm, text, sample.terminated, len(sample.ids)))
    if out is not None:
        write_text(Path(out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def examples_of(data: str | Path, split: Split = "test") -> list[Example]:
    """All rows of a file, answers not needed; of a folder, a Hub name or a built-in data set the split."""
    path = Path(data)
    if path.suffix.lower() in READERS:
        return [_example(raw) for raw in read_file(path)]
    found: list[Example] = getattr(load(data), split)
    if not found:
        raise InputError(f"{data}: the split `{split}` has no rows; choose another one with --split.")
    return found


def _example(raw: RawRow) -> Example:
    if raw.problem is not None:
        raise raw.problem
    row = raw.value
    if isinstance(row, dict) and not any(row.get(name) is not None for name in ANSWERS):
        return replace(example_from_row({**row, "completion": "-"}, where=raw.where), completion="", references=())
    return example_from_row(row, where=raw.where)


def _prompts(examples: list[Example], tokenizer: Any, is_encoder_decoder: bool, longest: int) -> list[list[int]]:
    from homestretch.data.prompts import prompt_ids

    found = []
    for e in examples:
        ids = prompt_ids(e.prompt, tokenizer, is_encoder_decoder=is_encoder_decoder, where=e.where)
        head = longest // 2  # instructions stand at either end
        found.append(ids if len(ids) <= longest else [*ids[:head], *ids[len(ids) - (longest - head) :]])
    return found


def _row(example: Example, arm: str, text: str, terminated: bool, tokens: int) -> dict[str, Any]:
    return {
        "id": example.id,
        "arm": arm,
        "prompt": prompt_text(example),
        "references": list(example.references),
        "source": example.source,
        "text": text,
        "terminated": terminated,
        "tokens": tokens,
        "reward": None,
    }
