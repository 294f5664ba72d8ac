"""Toy tasks for tests of training: tiny models, rows that they can learn in seconds, and plans of the real loop."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny import BUILDERS, EOS, VOCAB
from torch import Tensor

from homestretch import ranks
from homestretch.algorithms.base import Models
from homestretch.batch import AdvantageBatch, PairBatch, SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate, collate_pairs
from homestretch.data.tokenize import TokenizedExample, TokenizedPair
from homestretch.generation.candidates import candidates
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.policy import Policy
from homestretch.policies.sharding import shard
from homestretch.policies.trunk import Trunk
from homestretch.seeds import fold
from homestretch.training.loop import Plan

KINDS = 6


def trunk_of(
    name: str = "llama", *, seed: int = 0, std: float = 0.1, heads: tuple[str, ...] = (), whole: bool = False
) -> Trunk:
    """A tiny model, fully trained, with zero `value` or random other heads; the same bits for the same seed.

    It is sharded where the process was launched so, unless it is to be `whole`."""
    torch.manual_seed(seed)
    trunk = Trunk(BUILDERS[name]().float().eval())
    with torch.no_grad():
        for parameter in trunk.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
        if name == "t5":  # its logits are scaled down by the square root of the width
            trunk.lm.get_input_embeddings().weight.normal_()
    if ranks.sharded() and not whole:
        shard(trunk, torch.device("cpu"))
    for head in heads:
        if head == "prompt_value":
            trunk.add_prompt_head(r_max=1.0)
        else:
            trunk.add_head(head, zero=head == "value")
    return trunk


def row(index: int, *, reward: float | None = None) -> TokenizedExample:
    """Up to two other tokens and a token x, answered by x + 10, x + 20 and the end; shorter by the index."""
    x = 4 + index % KINDS
    answer = [x + 10, x + 20, EOS][(index % 4 == 3) :]
    return TokenizedExample(index, [*[30 + index % 5, 36][: index % 3], x], answer, len(answer), reward=reward)


def batch_of(number: int, *, size: int = 8) -> SequenceBatch:
    """The batch of a round."""
    return collate([row(number * size + i) for i in range(size)])


def pair(index: int) -> TokenizedPair:
    """The answer against as many tokens from the end of the vocabulary."""
    rng, chosen = random.Random(index), row(index)
    noise = [rng.randrange(36, VOCAB) for _ in chosen.completion_ids[1:]] + [EOS]
    return TokenizedPair(chosen, TokenizedExample(index, chosen.prompt_ids, noise, len(noise)), "noise")


def pairs_of(number: int, *, size: int = 8):
    """The batch of pairs of a round."""
    return collate_pairs([pair(number * size + i) for i in range(size)])


def stored(index: int) -> TokenizedExample:
    """Answers with reward 1 and noise with reward 0.1, in turns and to the same prompts."""
    made = pair(index // 2)
    return replace(made.rejected, reward=0.1) if index % 2 else replace(made.chosen, reward=1.0)


def stored_of(number: int, *, size: int = 8) -> SequenceBatch:
    """The batch of stored responses of a round."""
    return collate([stored(number * size + i) for i in range(size)])


def judged_of(number: int, *, size: int = 8) -> AdvantageBatch:
    """The same with the advantage over 0.5, and log-probabilities of a reference that knows nothing."""
    batch = stored_of(number, size=size)
    assert batch.reward_B is not None
    uniform_BT = -math.log(VOCAB) * batch.mask_BT
    return AdvantageBatch(**vars(batch), adv_B=batch.reward_B - 0.5, logp_ref_BT=uniform_BT)


def priced(index: int) -> TokenizedExample:
    """A prompt whose last token decides the reward, 0 to 1."""
    return replace(row(index, reward=(index % KINDS) / (KINDS - 1)), completion_ids=[])


def priced_of(number: int, *, size: int = 8) -> SequenceBatch:
    """The batch of such prompts of a round."""
    return collate([priced(number * size + i) for i in range(size)])


def ranked_of(number: int, *, size: int = 8) -> PairBatch:
    """The batch of pairs with log-probabilities of a reference that knows nothing."""
    batch = pairs_of(number, size=size)
    sides = (-math.log(VOCAB) * side.length_B for side in (batch.chosen, batch.rejected))
    return replace(batch, **dict(zip(("logp_ref_chosen_B", "logp_ref_rejected_B"), sides, strict=True)))


def several_of(number: int, *, size: int = 8) -> PairBatch:
    """The same, with another objective that likes even numbers."""
    batch = ranked_of(number, size=size)
    even = (share_of_even(side)[0][:, None] for side in (batch.chosen, batch.rejected))
    return replace(batch, **dict(zip(("reward_chosen_BM", "reward_rejected_BM"), even, strict=True)))


def share_of_even(responses: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """A reward: the share of a response's tokens that are even numbers."""
    even_BT = (responses.ids_BT % 2 == 0) & responses.mask_BT.bool()
    return even_BT.sum(1) / responses.length_B, {}


def ppo_models(
    trunk: Trunk,
    *,
    tokens: int,
    reward: Callable[..., Any] = share_of_even,
    seed: int = 0,
    reference: Trunk | None = None,
) -> Models:
    """The models of a `ppo` stage around a fully trained trunk with a value head; the reference is it as it is now, or
    another one."""
    policy = Policy(trunk, None, budget=4096)
    sampling = SamplingConfig(max_new_tokens=tokens)

    def sample(prompts: SequenceBatch, number: int) -> SequenceBatch:
        return rollout(policy, prompts, eos_ids=[EOS], sampling=sampling, seed=fold(seed, number))

    return Models(
        policy=policy,
        reference=Policy(reference or copy.deepcopy(trunk), None, budget=4096),
        sample=sample,
        reward=reward,
        candidates=lambda batch, k: candidates(policy, batch, k),
        end_ids=(EOS,),
    )


def prompts_of(number: int, *, size: int = 16, copies: int = 4) -> SequenceBatch:
    """Prompts of a round of rollouts, copies side by side."""
    return collate([row(number * size + i // copies) for i in range(size)])


def plan(
    folder: Path, trunk: Trunk, config: TrainingConfig, *, rounds: int, every: int | None = None, **options: Any
) -> Plan:
    """A plan that trains every parameter of the trunk; it validates and saves `every` so many rounds, or at the end."""
    defaults = {"eval_steps": every or rounds, "save_steps": config.save_steps or every or rounds}
    config = config.model_copy(update=defaults)
    settings = {
        "label": "toy",
        "batch_of": batch_of,
        "parameters": dict(trunk.named_parameters()),
        "seed": 0,
        "budget": 4096,
    }
    folder.mkdir(parents=True, exist_ok=True)
    return Plan(folder=folder, config=config, rounds=rounds, **settings | options)


def accelerator() -> Accelerator:
    """Plain float32 on the CPU."""
    return Accelerator(cpu=True)
