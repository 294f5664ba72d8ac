"""Policies: response-aligned scores of any architecture, adapters on one trunk, decoding."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import BUILDERS, VOCAB, build

from homestretch.batch import SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.errors import InputError
from homestretch.policies.load import check_lm_head
from homestretch.policies.memory import release, steady_heap
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
RESPONSES = [[20, 21, 22, 1], [23, 1], [24, 25, 26, 27]]


def batch_of(prompts=PROMPTS, responses=RESPONSES, *, left: bool = True, junk: int = 0) -> SequenceBatch:
    width_P, width_T = max(map(len, prompts)) + junk, max(map(len, responses)) + junk
    pad = 40 if junk else 0

    def row(ids: list[int], width: int, at_left: bool, value: int) -> list[int]:
        fill = [value] * (width - len(ids))
        return fill + ids if at_left else ids + fill

    return SequenceBatch(
        prompt_ids_BP=torch.tensor([row(p, width_P, left, pad) for p in prompts]),
        prompt_mask_BP=torch.tensor([row([1] * len(p), width_P, left, 0) for p in prompts]),
        ids_BT=torch.tensor([row(r, width_T, False, pad) for r in responses]),
        mask_BT=torch.tensor([row([1] * len(r), width_T, False, 0) for r in responses]),
    )


def naive_logp(lm, prompt: list[int], response: list[int]) -> torch.Tensor:
    """One row at a time, with the model's own logits."""
    if lm.config.is_encoder_decoder:
        decoder = torch.tensor([[lm.config.decoder_start_token_id, *response[:-1]]])
        logits = lm(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]
    else:
        logits = lm(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).squeeze(1)


@pytest.mark.parametrize("name", BUILDERS)
def test_logp_is_that_of_the_model_row_by_row(name):
    lm = build(name)
    policy = Policy(Trunk(lm), None, budget=1000)
    with torch.no_grad():
        logp_BT = policy.score(batch_of(), want={"logp"}).logp_BT
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            expected = naive_logp(lm, prompt, response)
            torch.testing.assert_close(logp_BT[row, : len(response)], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("change", ["right padding", "junk under the padding", "reversed rows", "small parts"])
def test_scores_depend_on_the_row_alone(name, change):
    trunk = Trunk(build(name))
    trunk.add_head("value", zero=False)
    trunk.add_head("reward", zero=False)
    want = {"logp", "entropy", "value", "reward"}
    with torch.no_grad():
        plain = Policy(trunk, None, budget=1000).score(batch_of(), want=want)
        if change == "small parts":
            other = Policy(trunk, None, budget=6).score(batch_of(), want=want)
        elif change == "right padding":
            other = Policy(trunk, None, budget=1000).score(batch_of(left=False), want=want)
        elif change == "junk under the padding":
            other = Policy(trunk, None, budget=1000).score(batch_of(junk=3), want=want)
        else:
            other = Policy(trunk, None, budget=1000).score(batch_of(PROMPTS[::-1], RESPONSES[::-1]), want=want)
    mask = batch_of().mask_BT.bool()
    for field in ("logp_BT", "entropy_BT", "value_BT"):
        value = getattr(other, field)[:, :4]
        value = value.flip(0) if change == "reversed rows" else value
        torch.testing.assert_close(value[mask], getattr(plain, field)[mask], atol=3e-5, rtol=1e-4)
    reward = other.reward_B.flip(0) if change == "reversed rows" else other.reward_B
    torch.testing.assert_close(reward, plain.reward_B, atol=3e-5, rtol=1e-4)


def test_the_reward_is_read_at_the_last_token_and_nowhere_else():
    trunk = Trunk(build("llama"))
    trunk.add_head("reward", zero=False)
    policy = Policy(trunk, None, budget=1000)
    with torch.no_grad():
        scored = policy.score(batch_of(), want={"reward", "hidden"})
        last = torch.stack([scored.hidden_BSD[i, len(r)] for i, r in enumerate(RESPONSES)])
        torch.testing.assert_close(scored.reward_B, trunk.heads["reward"](last))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_temperature_divides_the_logits_of_scores_and_of_decoding(name):
    policy = Policy(Trunk(build(name)), None, budget=1000)
    batch = batch_of()
    with torch.no_grad():
        cold, plain = policy.at(0.5), policy.score(batch, want={"logp", "hidden"})
        logits = policy.logits(plain.hidden_BSD[:, :-1])
        expected = (logits / 0.5).log_softmax(-1)
        scored = cold.score(batch, want={"logp", "entropy"}, candidate_BTK=batch.ids_BT[..., None])
        torch.testing.assert_close(cold.logits(plain.hidden_BSD[:, :-1]), logits / 0.5)
    mask = batch.mask_BT.bool()
    logp_BT = expected.gather(-1, batch.ids_BT[..., None]).squeeze(-1)
    entropy_BT = -(expected.exp() * expected).sum(-1)
    torch.testing.assert_close(scored.logp_BT[mask], logp_BT[mask], atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(scored.logp_BTK[..., 0][mask], logp_BT[mask], atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(scored.entropy_BT[mask], entropy_BT[mask], atol=3e-5, rtol=1e-4)


def test_candidates_are_scored_like_tokens():
    policy = Policy(Trunk(build("gpt2")), None, budget=1000)
    batch = batch_of()
    candidate_BTK = torch.stack([batch.ids_BT, (batch.ids_BT + 1) % VOCAB], dim=-1)
    with torch.no_grad():
        scored = policy.score(batch, want={"logp"}, candidate_BTK=candidate_BTK)
    mask = batch.mask_BT.bool()
    torch.testing.assert_close(scored.logp_BTK[..., 0][mask], scored.logp_BT[mask])
    shifted = dataclasses.replace(batch, ids_BT=candidate_BTK[..., 1])
    first = policy.score(shifted, want={"logp"}).logp_BT[:, 0]
    torch.testing.assert_close(scored.logp_BTK[:, 0, 1], first)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_new_adapter_is_the_reference_to_the_bit_and_a_changed_one_is_not(name):
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    policy, reference = Policy(trunk, "policy", budget=1000), Policy(trunk, None, budget=1000)
    with torch.no_grad():
        assert torch.equal(
            policy.score(batch_of(), want={"logp"}).logp_BT, reference.score(batch_of(), want={"logp"}).logp_BT
        )
        for parameter_name, parameter in trunk.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=0.1)
        changed = policy.score(batch_of(), want={"logp"}).logp_BT
        assert (changed - reference.score(batch_of(), want={"logp"}).logp_BT).abs().max() > 1e-3


@pytest.mark.parametrize("name", BUILDERS)
def test_decoding_continues_as_scoring_does(name):
    """Prefill, repeat, keep and forget_last give the log-probabilities of `score`, with the adapter merged."""
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    with torch.no_grad():
        for parameter_name, parameter in trunk.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=0.1)
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    policy, batch = Policy(trunk, "policy", budget=1000), batch_of()
    with torch.no_grad():
        expected = policy.score(batch, want={"logp"}).logp_BT
    with policy.decoding() as start:
        state = start(batch.prompt_ids_BP, batch.prompt_mask_BP)
        state.repeat(2)
        state.keep(torch.tensor([1, 2, 4]))
        for t in range(2):
            logp = policy.logits(state.hidden_BD).log_softmax(-1)
            for row, source in enumerate([0, 1, 2]):
                token = batch.ids_BT[source, t]
                torch.testing.assert_close(logp[row, token], expected[source, t], atol=1e-4, rtol=1e-4)
            state.step(torch.tensor([33, 33, 33]))
            state.forget_last()
            state.step(batch.ids_BT[:, t])
    after = trunk.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before), "the adapter must be unmerged exactly"


@pytest.mark.parametrize("broken", [False, True])
def test_decoding_leaves_adapter_and_modes_as_they_should_be_even_where_its_block_fails(broken):
    trunk = Trunk(build("gpt2"))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    policy, reference = (Policy(trunk, adapter, budget=1000) for adapter in ("policy", None))
    want = {"want": {"logp"}}
    with torch.no_grad():
        mine, base = (p.score(batch_of(), **want).logp_BT for p in (policy, reference))  # the last one was without
    trunk.lm.transformer.h[0].train()
    modes = [module.training for module in trunk.modules()]
    assert any(modes) and not all(modes)
    try:
        with policy.decoding() as start:
            assert not any(module.training for module in trunk.modules())
            start(batch_of().prompt_ids_BP, batch_of().prompt_mask_BP)
            if broken:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert [module.training for module in trunk.modules()] == modes
    trunk.eval()
    with torch.no_grad():
        assert torch.equal(reference.score(batch_of(), **want).logp_BT, base)
        assert torch.equal(policy.score(batch_of(), **want).logp_BT, mine)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not GLIBC, reason="only glibc keeps what is freed")
def test_release_gives_back_what_the_heap_keeps():
    count, size = 4000, 16_384  # 62.5 MiB in blocks that are too small for maps of their own
    gc.collect()  # or it might run in between
    release()
    before = resident()
    blocks = [torch.ones(size // 4) for _ in range(count)]
    full = resident()
    last = blocks.pop()  # at the top of the heap, or the pages below would leave by themselves
    blocks.clear()
    kept = resident()
    release()
    after = resident()
    assert full - before > 0.9 * count * size
    assert full - kept < 0.1 * count * size, "nothing to give back: the heap has not kept it"
    assert after - before < 0.1 * count * size
    assert len(last) == size // 4


@pytest.mark.parametrize(("platform", "library"), [("darwin", None), ("win32", None), ("linux", SimpleNamespace())])
def test_release_does_nothing_on_other_systems(monkeypatch, platform, library):
    def load(name: None) -> SimpleNamespace:
        assert library is not None, "no C library may be loaded here"
        return library

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", load)
    release()
    steady_heap()


def test_a_head_that_is_not_understood_is_refused():
    lm = build("llama")
    lm.config.logit_scale = 2.0
    with pytest.raises(InputError, match="output head"):
        check_lm_head(lm)


def test_a_head_of_few_tokens_is_understood():
    check_lm_head(BUILDERS["llama"](vocab=5).eval())


HEAP = """
import ctypes, os, sys
from pathlib import Path
from homestretch.policies.memory import steady_heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def block(mebibytes):
    made = libc.malloc(mebibytes << 20)
    ctypes.memset(made, 1, mebibytes << 20)
    return made

if sys.argv[1] == "steady":
    steady_heap()
libc.free(block(31))
before = resident()
large, behind = block(24), libc.malloc(100_000)
libc.free(large)
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="only glibc moves its limit")
def test_a_large_block_that_was_freed_once_does_not_keep_the_later_ones():
    left = {
        way: int(subprocess.run([sys.executable, "-c", HEAP, way], capture_output=True, text=True, check=True).stdout)
        for way in ("as it comes", "steady")
    }
    assert left["steady"] < 4 << 20
    assert left["as it comes"] > 20 << 20, "the C library does not do this any more; steady_heap can go"
