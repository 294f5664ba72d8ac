"""Joining prompts and responses, one token at a time."""


def compact(prompts: list[list[int]], responses: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of real tokens without any padding in, rows padded on the right with 0 and their masks out."""
    joined = [p + r for p, r in zip(prompts, responses, strict=True)]
    width = max(map(len, joined))
    ids = [row + [0] * (width - len(row)) for row in joined]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in joined]
    return ids, mask
