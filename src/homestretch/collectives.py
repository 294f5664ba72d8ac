"""What the processes of a run tell each other. Every process must come to the same calls in the same order.

With one process, and in a block `ranks.alone()`, each function gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from homestretch import ranks
from homestretch.errors import PeerLost

T = TypeVar("T")
K = TypeVar("K")
BUCKET = 2**25
"""Numbers that are summed at a time: enough to keep a network busy, little beside a model."""


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks. Tensors must be on the CPU."""
    if ranks.count() == 1:
        return [value]
    return _from_all(value)


def merged(values: dict[K, T]) -> dict[K, T]:
    """The entries of all processes."""
    return {key: value for part in gathered(values) for key, value in part.items()}


def from_first(value: T) -> T:
    """The value of the first process: for decisions that hang on files, which that process changes."""
    return gathered(value)[0]


def wait() -> None:
    """Until every process is here: what the first one has written can be read."""
    gathered(None)


def mapped(function: Callable[[list[T]], Sequence[K]], items: Sequence[T]) -> list[K]:
    """`function` of all items, one value each, every process taking a share of them; it is not asked for none."""
    step = ranks.count()
    mine = list(items[ranks.rank() :: step])
    made = gathered(function(mine) if mine else [])
    return [made[i % step][i // step] for i in range(len(items))]


def in_step(parts: Sequence[T], stand_in: T) -> list[tuple[T, bool]]:
    """Each part with True; where weights are sharded then the stand-in with False, as often as another process has
    more parts than this one, in a block `ranks.alone()` too. A pass for each of them keeps all processes in step."""
    missing = max(_from_all(len(parts))) - len(parts) if ranks.sharded() else 0
    return [(part, True) for part in parts] + [(stand_in, False)] * missing


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is dealt out to the processes, put together in each of them; others are given back."""
    with _peers():
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def dealt(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another one, dealt out as that one is: each process keeps its own part."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes its sum over all processes, the same bits everywhere; added up in float32 at least."""
    if ranks.count() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([t.flatten().to(torch.promote_types(t.dtype, torch.float32)) for t in bucket])
        with _peers():
            dist.all_reduce(flat)
        for tensor, total in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(total.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _from_all(value: T) -> list[T]:
    found: list[Any] = [None] * dist.get_world_size()
    with _peers():
        dist.all_gather_object(found, value)
    return found


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of every backend, when a connection breaks or nobody answers
        raise PeerLost("Another process of this run has stopped; its own output says why.") from error
