"""A PPO round on R accelerators: what fits in which form, how long it takes, and what takes the longest.

Rounds have the same samples whatever R is. Prompts are dealt out with all their samples, rows of updates one by one:
a process has the ceiling of its share. A pass is halved until it fits, as runs do it, down to one row; weights are
sharded only where a whole copy does not fit even so. Traffic is added to the other times, as if nothing of it ran
beside them: an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from homestretch.costs.memory import GPU, Numbers, Work, needed
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine, Round, round_seconds
from homestretch.costs.traffic import pass_traffic, text_traffic, update_traffic

SERVERS, SHARDS, MORE = "vLLM servers", "FSDP2", "more GPUs"
DECODING_SHARE = 0.5
"""Of a round's time, from which decoding is given to servers."""


@dataclass(frozen=True)
class Cluster:
    """Accelerators of one kind: `memory` bytes of each; `link` bytes a second between those of a machine, which has
    `together` of them, and `network` between machines, both for each accelerator and direction."""

    machine: Machine
    memory: float
    link: float
    network: float
    together: int = 8

    def bytes_a_second(self, ranks: int) -> float:
        """What a ring over that many accelerators is bound by."""
        return self.link if ranks <= self.together else self.network


@dataclass(frozen=True)
class Task:
    """A round of `samples` and its limits: tokens of a pass, rows that decode at a time, numbers of a chunk of logits,
    samples of an optimiser step."""

    row: Row
    samples: int
    batch: int
    pass_tokens: int
    rows: int
    logits: int


@dataclass(frozen=True)
class Outlook:
    """A model on R accelerators. `peaks`: bytes of one of them, by stage, in the form that `shards` says (1: a whole
    copy in each), with passes of `pass_tokens`; `seconds` of a round by part; `memory` of an accelerator."""

    shards: int
    pass_tokens: int
    peaks: dict[str, float]
    seconds: dict[str, float]
    memory: float

    @property
    def trains(self) -> bool:
        """Whether every stage fits, decoding apart."""
        return max(peak for name, peak in self.peaks.items() if name != "decoding") <= self.memory

    @property
    def decodes(self) -> bool:
        """Whether decoding fits."""
        return self.peaks["decoding"] <= self.memory

    @property
    def bottleneck(self) -> str:
        """The longest part of a round."""
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def engines(self) -> list[str]:
        """What takes over: shards where a whole copy does not fit, servers where decoding does not fit or is most of
        a round; more accelerators where nothing helps."""
        if not self.trains:
            return [MORE]
        served = not self.decodes or self.seconds["decoding"] > DECODING_SHARE * sum(self.seconds.values())
        return [name for name, wanted in ((SHARDS, self.shards > 1), (SERVERS, served)) if wanted]


def outlook(shape: Shape, rank: int | None, ranks: int, cluster: Cluster, task: Task) -> Outlook:
    """How a model fares; `rank` of the adapters, None where every weight learns, which is then held in float32."""
    numbers = replace(GPU, weight=4) if rank is None else GPU
    for shards in sorted({1, ranks}):
        tried = task
        while True:
            found = Outlook(
                shards,
                tried.pass_tokens,
                stage_peaks(shape, rank, shards, ranks, tried, numbers),
                _seconds(shape, rank, ranks, shards, cluster, tried, numbers),
                cluster.memory,
            )
            halved = tried.pass_tokens // 2
            if found.trains or halved < task.row.prompt + task.row.answer:
                break
            tried = replace(tried, pass_tokens=halved)
        if found.trains:
            break
    return found


def stage_peaks(
    shape: Shape, rank: int | None, shards: int, ranks: int, task: Task, numbers: Numbers
) -> dict[str, float]:
    """Bytes of one accelerator in each stage; PPO's policy, reference and reward model are apart in full training."""
    mine = _shares(task, ranks)
    tokens = min(task.pass_tokens, mine.updated * task.row.tokens)
    several = mine.updated * task.row.tokens > task.pass_tokens
    sft = Work(rank=rank, pass_tokens=tokens, logits=task.logits, several=several, shards=shards)
    ppo = replace(sft, models=3 if rank is None else 1, adapters=2)
    # What a chunk of logits and a pass hold is gone before decoding starts.
    writes = replace(
        ppo, pass_tokens=0, logits=0, several=False, rows=min(task.rows, mine.samples),
        row_tokens=task.row.prompt + task.row.answer,
    )  # fmt: skip
    works = {"sft": sft, "reward": replace(sft, logits=0), "ppo": ppo, "decoding": writes}
    return {name: needed(shape, work, numbers)["peak"] for name, work in works.items()}


@dataclass(frozen=True)
class Shares:
    """What one process has: samples that it decodes, that it scores, and that it has of one update; passes of each."""

    samples: int
    scored: int
    updated: int
    score_passes: int
    update_passes: int


def _shares(task: Task, ranks: int) -> Shares:
    group = max(round(task.row.sharing), 1)
    scored, updated = math.ceil(task.samples / ranks), math.ceil(task.batch / ranks)
    return Shares(
        samples=math.ceil(task.samples / group / ranks) * group,
        scored=scored,
        updated=updated,
        score_passes=math.ceil(scored * task.row.tokens / task.pass_tokens),
        update_passes=math.ceil(updated * task.row.tokens / task.pass_tokens),
    )


def _seconds(
    shape: Shape, rank: int | None, ranks: int, shards: int, cluster: Cluster, task: Task, numbers: Numbers
) -> dict[str, float]:
    mine, updates = _shares(task, ranks), math.ceil(task.samples / task.batch)
    decoded = round_seconds(
        shape, task.row, cluster.machine, Round(mine.samples, task.rows), rank, width=numbers.weight
    )
    work = round_seconds(shape, task.row, cluster.machine, Round(mine.scored, task.rows), rank)
    sent = text_traffic(task.samples, task.row.answer, ranks) + updates * update_traffic(
        shape, rank, ranks, sharded=shards > 1, passes=mine.update_passes, width=numbers.weight
    )
    if shards > 1:  # three readers score, and decoding gathers all weights once
        sent += pass_traffic(shape, ranks, passes=1 + 3 * mine.score_passes, width=numbers.weight)
    return {
        "decoding": decoded["decoding"],
        "scoring": work["scoring"],
        "updates": work["updates"],
        "traffic": sent / cluster.bytes_a_second(ranks),
    }
