"""How an optimiser batch is cut for the forward passes."""

from __future__ import annotations

from collections.abc import Sequence


def token_budget_batches(
    prompts: Sequence[int], prompt_lengths: Sequence[int], lengths: Sequence[int], *, budget: int
) -> list[list[int]]:
    """Rows cut into groups of at most `budget` padded tokens, where rows that share a prompt are packed behind it.

    `prompts[i]` names the prompt of row i. A group of U prompts costs U times the longest of them with its rows.
    Packed rows of similar length are together, longest first; a row longer than the budget gets a group of its own.
    Every row is in exactly one group.
    """
    whole = dict(zip(prompts, prompt_lengths, strict=True))
    for prompt, length in zip(prompts, lengths, strict=True):
        whole[prompt] += length
    groups: list[list[int]] = []
    packed: dict[int, int] = {}
    for i in sorted(range(len(lengths)), key=lambda i: (-whole[prompts[i]], prompts[i], i)):
        grown = packed | {prompts[i]: packed.get(prompts[i], prompt_lengths[i]) + lengths[i]}
        if groups and len(grown) * max(grown.values()) <= budget:
            groups[-1].append(i)
            packed = grown
        else:
            groups.append([i])
            packed = {prompts[i]: prompt_lengths[i] + lengths[i]}
    return groups
