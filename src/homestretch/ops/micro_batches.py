"""How an optimiser batch is cut for the forward passes."""

from __future__ import annotations

from collections.abc import Sequence


def token_budget_batches(
    prompts: Sequence[int], prompt_lengths: Sequence[int], lengths: Sequence[int], *, budget: int
) -> list[list[int]]:
    """Rows cut into groups of at most `budget` padded tokens, where a prompt counts once however many rows share it.

    `prompts[i]` names the prompt of row i. Groups hold prompts of similar length, longest first, and keep rows of one
    prompt together. A row longer than the budget gets a group of its own. Every row is in exactly one group.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-prompt_lengths[i], prompts[i], -lengths[i], i))
    groups: list[list[int]] = []
    distinct: set[int] = set()
    longest = 0
    for i in order:
        grown, width = distinct | {prompts[i]}, max(longest, lengths[i])
        if groups:
            cost = len(grown) * prompt_lengths[groups[-1][0]] + (len(groups[-1]) + 1) * width
            if cost <= budget:
                groups[-1].append(i)
                distinct, longest = grown, width
                continue
        groups.append([i])
        distinct, longest = {prompts[i]}, lengths[i]
    return groups
