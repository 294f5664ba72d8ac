"""Rewards of stored text: the data's own column, the run's reward model, or what a recipe names; each asked once.

`rewards.jsonl` in a stage's folder holds the rows with their `reward` and its named parts, `rewards`; it is a data set
of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from homestretch.collectives import mapped
from homestretch.config.rewards import MODEL, RewardTerm
from homestretch.data.collate import collate
from homestretch.data.records import Example, completion_text
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError
from homestretch.policies.memory import release
from homestretch.progress import progress
from homestretch.rewards.cache import content_key, scored_once
from homestretch.rewards.model import RewardModel
from homestretch.rewards.named import NamedReward, ask, weighted
from homestretch.rewards.remembered import contents, reward_keys, scorer_key, text_key
from homestretch.training.context import Context
from homestretch.training.precomputed import once
from homestretch.writing import write_text

PROBABILITY = {MODEL: RewardTerm(sigmoid=True)}
PART = "rewards/"


def stored_rewards(
    context: Context,
    examples: Sequence[Example],
    rows: Sequence[TokenizedExample],
    folder: Path,
    terms: Mapping[str, RewardTerm],
) -> Tensor:
    """One reward (N,) for each row, float32: the sum of the terms; without any, the row's column `reward`, or the
    reward model's probability (0 to 1) that the response is a reference. `folder` keeps what was asked.

    Raises DataError where only some rows have a reward, or all have the same.
    """
    if not terms and any(row.reward is not None for row in rows):
        reward_N = torch.tensor([_own(e) for e in examples], dtype=torch.float32)
    else:
        found = once(folder, lambda: asked(context, examples, rows, terms or PROBABILITY))
        reward_N = found["reward"]
        write_rows(folder.with_suffix(".jsonl"), examples, found)
    check_rewards(reward_N, examples)
    return reward_N


def asked(
    context: Context, examples: Sequence[Example], rows: Sequence[TokenizedExample], terms: Mapping[str, RewardTerm]
) -> dict[str, Tensor]:
    """The sum of the terms (N,) and each of them, under its name behind `rewards/`. A reward that does not apply
    counts 0; DataError for a row to which none does."""
    parts = {}
    if MODEL in terms:
        parts[MODEL] = weighted(terms[MODEL], model_rewards(context, rows))
    for named in context.named_rewards(terms):
        parts[named.name] = weighted(named.term, named_rewards(context, named, examples))
    return {"reward": total(parts, examples)} | {PART + name: part_N for name, part_N in parts.items()}


def total(parts: Mapping[str, Tensor], examples: Sequence[Example]) -> Tensor:
    """The sum (N,) of parts, on the CPU. What is NaN counts 0; DataError for an example of which every part is."""
    parts_MN = torch.stack([part_N.cpu() for part_N in parts.values()])
    nowhere = parts_MN.isnan().all(0).nonzero().flatten().tolist()
    if nowhere:
        names = ", ".join(f"`{name}`" for name in parts)
        raise DataError(
            f"{examples[nowhere[0]].where}: none of the rewards {names} applies to this row; leave it out, or add a "
            "reward that does."
        )
    return parts_MN.nansum(0)


def named_rewards(context: Context, named: NamedReward, examples: Sequence[Example]) -> list[float | None]:
    """A reward of the examples' own completions; a model is asked for what it has not scored before."""
    texts = [completion_text(e) for e in examples]

    def of(indices: list[int]) -> list[float | None]:
        some = [examples[i] for i in indices]
        given = ask(named.reward, some, [texts[i] for i in indices], [True] * len(some))
        bar.advance(len(some))
        return given

    with progress(None, f"reward `{named.name}` of stored text", "text") as bar:
        scorer = scorer_key(named.term, context.device.type)
        if scorer is None:
            return mapped(of, range(len(examples)))
        keys = [text_key(named.term, e.prompt, text) for e, text in zip(examples, texts, strict=True)]
        return scored_once(scorer, keys, lambda indices: mapped(of, indices))


def term_key(context: Context, name: str, term: RewardTerm, examples: Sequence[Example]) -> str:
    """A name for a reward and all that it is asked about: what it is made of, and rows with their columns. The weight
    of the term plays no part."""
    made_of = name, term.model_dump_json(exclude={"weight"}), contents(term)
    rows = [(e.prompt, e.completion, e.references, e.source, sorted(e.columns.items())) for e in examples]
    return content_key(made_of, context.device.type, rows)


def model_rewards(context: Context, rows: Sequence[TokenizedExample]) -> list[float | None]:
    """The logit of each row under the run's reward model, which is loaded for those that it has not scored before."""
    keys = reward_keys(context.reward_folder(), **context.reward_options())
    scorer = content_key(keys, context.device.type)
    loaded: list[RewardModel] = []

    def of(indices: list[int]) -> list[float]:
        if not loaded:
            loaded.append(context.reward_model())
        given = loaded[0].score_ids(collate([rows[i] for i in indices])).float().cpu().tolist()
        bar.advance(len(indices))
        return given

    with progress(None, "reward of stored text", "text") as bar:
        found = scored_once(scorer, [content_key(row.prompt_ids, row.completion_ids) for row in rows], of)
    loaded.clear()
    release()
    return found


def write_rows(file: Path, examples: Sequence[Example], found: Mapping[str, Tensor]) -> None:
    """The examples as data rows with the column `reward`, and `rewards` by name where they apply."""
    if file.is_file():
        return
    rewards = {name: t.tolist() for name, t in found.items()}
    names = [name for name in rewards if name.startswith(PART)]
    lines = []
    for i, e in enumerate(examples):
        parts = {name.removeprefix(PART): rewards[name][i] for name in names if rewards[name][i] == rewards[name][i]}
        row = {"id": e.id, "prompt": e.prompt, "completion": e.completion, "reward": rewards["reward"][i]}
        lines.append(json.dumps(row | {"rewards": parts}, ensure_ascii=False) + "\n")
    write_text(file, "".join(lines))


def check_rewards(reward_N: Tensor, examples: Sequence[Example]) -> None:
    """Raise DataError for rewards that are no numbers, or that do not tell one response from another."""
    bad = (~torch.isfinite(reward_N)).nonzero().flatten().tolist()
    if bad:
        raise DataError(f"{examples[bad[0]].where}: the reward model gives no finite number; train it again.")
    if reward_N.min() == reward_N.max():
        raise DataError(
            f"All {len(reward_N)} rewards are {float(reward_N[0]):g}: nothing tells good responses from bad ones; "
            "give rewards that differ, or use the stage `sft`."
        )


def refuse_negative(reward_N: Tensor, examples: Sequence[Example], method: str) -> None:
    """Raise DataError for a negative reward, which would teach a method that weighs by rewards to avoid the row."""
    lowest = int(reward_N.argmin())
    if reward_N[lowest] < 0:
        raise DataError(
            f"{examples[lowest].where}: the reward {float(reward_N[lowest]):g} is negative, and `{method}` weighs by "
            "rewards; shift them to start at 0, take a probability of each with rewards.NAME.sigmoid=true, or use "
            "`alol`, which compares them with what is expected."
        )


def _own(example: Example) -> float:
    reward = example.columns.get("reward")
    if reward is None:
        raise DataError(
            f"{example.where}: the row has no `reward` although others have one; give every training row one, or none."
        )
    return float(reward)
