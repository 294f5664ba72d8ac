"""Plans of rounds on many accelerators: what fits in which form, and what takes over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.costs.memory import GPU, LOGIT_COPIES
from homestretch.costs.plan import Cluster, Outlook, Task, outlook, stage_peaks
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import EFFICIENCY, Machine, learning, reading
from homestretch.costs.traffic import TEXT

SHAPE = Shape(
    parameters=10**9, layers=10, hidden=100, is_encoder_decoder=False, linear=9 * 10**8, head=10**8, sides=10**5,
    outputs=10**5, key_values=10**4,
)  # fmt: skip
TASK = Task(Row(12, 4, 4), samples=64, batch=16, pass_tokens=64, rows=32, logits=1000)
CLUSTER = Cluster(Machine(rate=1e12, bandwidth=1e12), memory=80e9, link=4e9, network=1e9)


def test_a_copy_that_fits_is_not_sharded() -> None:
    found = outlook(SHAPE, 16, 4, CLUSTER, TASK)
    assert found.shards == 1 and found.trains and found.decodes
    assert found.pass_tokens == 64


def test_a_pass_is_halved_before_weights_are_sharded_and_stops_at_a_row() -> None:
    task = replace(TASK, batch=64)  # 32 rows of seven tokens for each of two processes: several passes in any case
    whole = {
        tokens: stage_peaks(SHAPE, None, 1, 2, replace(task, pass_tokens=tokens), replace(GPU, weight=4))["ppo"]
        for tokens in (64, 32)
    }
    assert whole[32] < whole[64]
    found = outlook(SHAPE, None, 2, replace(CLUSTER, memory=sum(whole.values()) / 2), task)
    assert (found.shards, found.pass_tokens, found.trains) == (1, 32, True)
    tight = outlook(SHAPE, None, 2, replace(CLUSTER, memory=1e9), task)
    assert (tight.shards, tight.pass_tokens, tight.engines) == (2, 16, ["more GPUs"]), "a row has 16 tokens"


def test_shards_take_over_where_a_copy_does_not_fit() -> None:
    # In float32 a model of a billion weights with gradients and moments has 16 GB, three models in PPO 24.
    found = outlook(SHAPE, None, 8, replace(CLUSTER, memory=12e9), TASK)
    assert found.shards == 8 and "FSDP2" in found.engines
    alone = outlook(SHAPE, None, 1, replace(CLUSTER, memory=12e9), TASK)
    assert alone.engines == ["more GPUs"] and not alone.trains


def test_peaks_by_hand() -> None:
    task = replace(TASK, batch=4, samples=4)
    found = stage_peaks(SHAPE, 16, 1, 1, task, GPU)
    held = GPU.process + 2 * 10**9
    learnt = 4 * 16 * 10**5
    passed = 2 * 2.1 * 10**5 * (4 * 7) + LOGIT_COPIES * 4 * 1000
    assert found["sft"] == pytest.approx(held + 3 * learnt + max(passed, learnt))
    assert found["ppo"] == pytest.approx(held + 4 * learnt + max(passed, learnt))
    merged_and_cache = 2 * (9 * 10**8 + 4 * 16 * 10**4)
    assert found["decoding"] == pytest.approx(held + 4 * learnt + merged_and_cache)
    full = stage_peaks(SHAPE, None, 1, 1, task, replace(GPU, weight=4))
    assert full["ppo"] - full["sft"] == 2 * 4 * 10**9, "reference and reward model"


def outlook_of(decoding: float, *, shards: int = 1, decodes: bool = True) -> Outlook:
    seconds = {"decoding": decoding, "scoring": 1.0, "updates": 2.0, "traffic": 1.0}
    peaks = {"sft": 1.0, "reward": 1.0, "ppo": 1.0, "decoding": 1.0 if decodes else 3.0}
    return Outlook(shards, 64, peaks, seconds, memory=2.0)


def test_servers_take_over_where_decoding_is_most_of_a_round_or_does_not_fit() -> None:
    assert outlook_of(3.9).engines == []
    assert outlook_of(4.1).engines == ["vLLM servers"]
    assert outlook_of(0.1, decodes=False).engines == ["vLLM servers"]
    assert outlook_of(4.1, shards=8).engines == ["FSDP2", "vLLM servers"]
    assert (outlook_of(1.9).bottleneck, outlook_of(2.1).bottleneck) == ("updates", "decoding")


def test_seconds_by_hand() -> None:
    """Four processes have 16 of the samples each; 64 samples are four updates of 16."""
    found = outlook(SHAPE, 16, 4, CLUSTER, TASK).seconds
    rate = 1e12 * EFFICIENCY
    assert found["updates"] == pytest.approx(16 * learning(SHAPE, TASK.row, 16) / rate)
    scored = 2 * reading(SHAPE, TASK.row) + reading(SHAPE, TASK.row, scored=False)
    assert found["scoring"] == pytest.approx(16 * scored / rate)
    sent = 3 / 4 * (TEXT * 64 * 4 + 4 * 2 * 4 * 16 * 10**5)
    assert found["traffic"] == pytest.approx(sent / 4e9)


def test_prompts_are_dealt_out_with_all_their_samples() -> None:
    """There are 16 prompts: more processes than that decode no faster, and still share scores and updates."""
    slow = [outlook(SHAPE, 16, ranks, CLUSTER, TASK).seconds for ranks in (16, 64)]
    assert slow[0]["decoding"] == slow[1]["decoding"] > 0
    assert slow[0]["scoring"] == pytest.approx(4 * slow[1]["scoring"])


def test_between_machines_the_network_counts() -> None:
    assert [CLUSTER.bytes_a_second(ranks) for ranks in (2, 8, 9)] == [4e9, 4e9, 1e9]


def test_shards_are_gathered_for_every_pass() -> None:
    """Full fine-tuning on 16 processes: a pass of each update, gathered twice and scattered, and of scoring."""
    found = outlook(SHAPE, None, 16, replace(CLUSTER, memory=12e9), TASK)
    assert found.shards == 16
    gathered = 15 / 16 * 4 * 10**9
    sent = 15 / 16 * TEXT * 64 * 4 + 4 * 3 * gathered + (1 + 3) * gathered
    assert found.seconds["traffic"] == pytest.approx(sent / 1e9)
