"""How an optimiser batch is dealt out to processes, and cut for the forward passes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def token_budget_batches(
    prompts: Sequence[int], prompt_lengths: Sequence[int], lengths: Sequence[int], *, budget: int
) -> list[list[int]]:
    """Rows cut into groups of at most `budget` padded tokens, where rows that share a prompt are packed behind it.

    `prompts[i]` names the prompt of row i. A group of U prompts costs U times the longest of them with its rows.
    Packed rows of similar length are together, longest first; a row longer than the budget gets a group of its own.
    Every row is in exactly one group.
    """
    groups: list[list[int]] = []
    packed: dict[int, int] = {}
    for i in longest_first(prompts, prompt_lengths, lengths):
        grown = packed | {prompts[i]: packed.get(prompts[i], prompt_lengths[i]) + lengths[i]}
        if groups and len(grown) * max(grown.values()) <= budget:
            groups[-1].append(i)
            packed = grown
        else:
            groups.append([i])
            packed = {prompts[i]: prompt_lengths[i] + lengths[i]}
    return groups


def token_shares(
    prompts: Sequence[int], prompt_lengths: Sequence[int], lengths: Sequence[int], *, count: int
) -> list[list[int]]:
    """Rows dealt out to `count` processes, about equally many tokens to each.

    A share is a piece of the longest-first order, so that its rows are of similar length, and rows that share a prompt
    are parted at most by the end of a piece. Every row is in exactly one share, in ascending order; a share may be
    empty.
    """
    copies = Counter(prompts)
    cost = [length + whole / copies[p] for p, whole, length in zip(prompts, prompt_lengths, lengths, strict=True)]
    shares: list[list[int]] = [[] for _ in range(count)]
    total, before = sum(cost), 0.0
    for i in longest_first(prompts, prompt_lengths, lengths):
        middle = before + cost[i] / 2
        shares[min(int(count * middle / total), count - 1) if total else 0].append(i)
        before += cost[i]
    return [sorted(share) for share in shares]


def longest_first(prompts: Sequence[int], prompt_lengths: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """Rows in the order of their prompts' tokens together with all that is packed behind them."""
    whole = dict(zip(prompts, prompt_lengths, strict=True))
    for prompt, length in zip(prompts, lengths, strict=True):
        whole[prompt] += length
    return sorted(range(len(lengths)), key=lambda i: (-whole[prompts[i]], prompts[i], i))
