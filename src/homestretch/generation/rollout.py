"""Rollouts: prompts of a batch in, sampled responses in the same rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from homestretch.batch import SequenceBatch
from homestretch.generation.engine import Sample, generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.policy import Policy

Draw = Callable[[list[list[int]], int], list[list[Sample]]]
"""Makes that many samples of each prompt of token ids, in order."""
STALE = dict.fromkeys(("reward_B", "logp_sampled_BT", "value_sampled_BT", "logp_drawn_BT"))
"""What a batch does not know of new responses."""


def rollout(
    policy: Policy,
    prompts: SequenceBatch,
    *,
    eos_ids: Sequence[int],
    sampling: SamplingConfig,
    seed: int,
    max_rows: int | None = None,
    head: Callable[[Tensor], Tensor] | None = None,
    on_sample: Callable[[int, Sample], None] | None = None,
) -> SequenceBatch:
    """One sampled response for each row of `prompts`; equal prompts that stand together are read once.

    Row order, `index_B` and `ref_length_B` are those of `prompts`. Where the policy decodes in the precision in which
    it scores, and draws from its own distribution, log-probabilities of the sampled tokens come along, and with a value
    `head` the values of the states before them. `on_sample` is told of each row's sample as soon as it is finished.
    """
    keeps = policy.decodes_as_it_scores and sampling.is_plain
    how = {"eos_ids": eos_ids, "sampling": sampling, "seed": seed, "max_rows": max_rows}

    def draw(lists: list[list[int]], k: int) -> list[list[Sample]]:
        def tell(done: Mapping[tuple[int, int], Sample]) -> None:
            for (i, copy), sample in done.items():
                on_sample(i * k + copy, sample)

        return generate(policy, lists, num_samples=k, head=head if keeps else None, on_done=on_sample and tell, **how)

    responses, samples = _drawn(prompts, draw)
    if not keeps:
        return responses
    logp_BT = _padded([s.logp for s in samples], responses.ids_BT)
    value_BT = None if head is None else _padded([s.value for s in samples], responses.ids_BT)
    return replace(responses, logp_sampled_BT=logp_BT, value_sampled_BT=value_BT)


def rollout_elsewhere(prompts: SequenceBatch, draw: Draw) -> SequenceBatch:
    """One response for each row of `prompts`, from another engine.

    The samples' log-probabilities are kept as what they were drawn by, not as the policy's own.
    """
    responses, samples = _drawn(prompts, draw)
    return replace(responses, logp_drawn_BT=_padded([s.logp for s in samples], responses.ids_BT))


def _drawn(prompts: SequenceBatch, draw: Draw) -> tuple[SequenceBatch, list[Sample]]:
    """The batch with a response a row, and the samples that they are; each run of equal prompts is drawn for once."""
    lists = prompt_lists(prompts)
    repeats = _common_repeat(lists)
    samples = [sample for group in draw(lists[::repeats], repeats) for sample in group]
    return with_responses(prompts, samples), samples


def _padded(rows: Sequence[list[float]], ids_BT: Tensor) -> Tensor:
    return torch.tensor([row + [0.0] * (ids_BT.shape[1] - len(row)) for row in rows], device=ids_BT.device)


def with_responses(prompts: SequenceBatch, samples: Sequence[Sample]) -> SequenceBatch:
    """The batch with its responses replaced by the samples, one a row."""
    width = max(len(s.ids) for s in samples)
    device = prompts.ids_BT.device
    ids_BT = torch.tensor([s.ids + [0] * (width - len(s.ids)) for s in samples], device=device)
    mask_BT = torch.tensor([[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in samples], device=device)
    terminated_B = torch.tensor([s.terminated for s in samples], device=device)
    return replace(prompts, ids_BT=ids_BT, mask_BT=mask_BT, terminated_B=terminated_B, **STALE)


def replaced(batch: SequenceBatch, rows: Tensor, responses: SequenceBatch) -> SequenceBatch:
    """The batch with other responses in some of its rows; what was known of the old ones alone is dropped."""
    width = max(batch.ids_BT.shape[1], responses.ids_BT.shape[1])

    def put(name: str) -> Tensor:
        old_BT, new_bT = (pad(t, (0, width - t.shape[1])) for t in (getattr(batch, name), getattr(responses, name)))
        return old_BT.index_copy(0, rows, new_bT.to(old_BT.dtype))

    assert batch.terminated_B is not None and responses.terminated_B is not None
    terminated_B = batch.terminated_B.index_copy(0, rows, responses.terminated_B)
    return replace(batch, ids_BT=put("ids_BT"), mask_BT=put("mask_BT"), terminated_B=terminated_B, **STALE)


def prompt_lists(batch: SequenceBatch) -> list[list[int]]:
    """The real prompt tokens of each row."""
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch.prompt_ids_BP, batch.prompt_mask_BP, strict=True)]


def _common_repeat(lists: list[list[int]]) -> int:
    """The largest K such that rows come in runs of K equal prompts."""
    run = 1
    while run < len(lists) and lists[run] == lists[0]:
        run += 1
    in_runs = len(lists) % run == 0 and all(lists[i] == lists[i - i % run] for i in range(len(lists)))
    return run if in_runs else 1
