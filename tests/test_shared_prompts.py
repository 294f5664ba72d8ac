"""Rows that share a prompt: it is read once, and neither results nor gradients may tell."""

from __future__ import annotations

import pytest
import torch
from test_policies import batch_of
from tiny import BUILDERS, build
from transformers import BloomConfig, BloomForCausalLM, MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

from homestretch.config.training import TrainingConfig
from homestretch.ops.masks import distinct_rows
from homestretch.policies.causal import response_hidden
from homestretch.policies.packed import packed_hidden, packs, windows
from homestretch.policies.policy import Policy
from homestretch.policies.rows import joined_hidden
from homestretch.policies.trunk import Trunk

PROMPTS = [[8, 9, 10, 11, 12], [5, 6, 7], [8, 9, 10, 11, 12], [8, 9, 10, 11, 12], [5, 6, 7]]
RESPONSES = [[20, 21, 22, 1], [23, 1], [24, 25, 26, 27, 28], [20, 21, 22, 1], [23, 22]]
WANT = {"logp", "value", "reward"}


def trunk_of(name: str) -> Trunk:
    torch.manual_seed(0)
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=2))
    for parameter in (p for n, p in trunk.named_parameters() if "lora_B" in n):
        torch.nn.init.normal_(parameter, std=0.1)
    trunk.add_head("value", zero=False)
    trunk.add_head("reward", zero=False)
    return trunk


def results(trunk: Trunk, batches) -> tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]:
    """Scores of each row of the batches, and the gradient of their sum."""
    trunk.zero_grad()
    policy, rows, total = Policy(trunk, "policy", budget=10_000), {k: [] for k in WANT}, 0.0
    for batch in batches:
        scored = policy.score(batch, want=WANT)
        for i, length in enumerate(batch.length_B.tolist()):
            rows["logp"].append(scored.logp_BT[i, :length])
            rows["value"].append(scored.value_BT[i, :length])
            rows["reward"].append(scored.reward_B[i])
            total = total + scored.logp_BT[i, :length].sum() + scored.value_BT[i, :length].square().sum()
            total = total + scored.reward_B[i].square()
    total.backward()
    return rows, {n: p.grad.clone() for n, p in trunk.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_and_gradients_are_those_of_single_rows(monkeypatch, name, left, attention):
    trunk = trunk_of(name)
    trunk.lm.set_attn_implementation(attention)
    monkeypatch.setattr("homestretch.policies.attention.PLAIN_CELLS", 0)  # or short rows are never fused
    whole = batch_of(PROMPTS, RESPONSES, left=left, junk=2)
    together, grad = results(trunk, [whole])
    alone, grad_alone = results(trunk, [whole.select([i]) for i in range(len(whole))])
    for key in WANT:
        for a, b in zip(together[key], alone[key], strict=True):
            torch.testing.assert_close(a, b, atol=3e-5, rtol=1e-4)
    assert grad.keys() == grad_alone.keys() and any("lora_A" in n for n in grad)
    for key in grad:
        # Sums over rows in another order: entries are as good as the largest of their tensor allows.
        scale = float(grad_alone[key].abs().max())
        torch.testing.assert_close(grad[key], grad_alone[key], atol=max(1e-3 * scale, 2e-4), rtol=1e-3)


def steps_back(tensor: torch.Tensor) -> set[str]:
    """Names of the operations through which a gradient goes."""
    seen, ahead = set(), [tensor.grad_fn]
    while ahead:
        if (node := ahead.pop()) is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    return {node.name() for node in seen}


@pytest.mark.parametrize("name", BUILDERS)
def test_no_gradient_waits_for_whichever_thread_comes_first(name):
    """With several threads that of `x[rows]` adds rows that are named twice in the order of the scheduler."""
    trunk = trunk_of(name)
    trunk.add_prompt_head(r_max=1.0)
    batch = batch_of(PROMPTS, RESPONSES, left=True, junk=2)
    scored = Policy(trunk, "policy", budget=10_000).score(batch, want={"hidden", "prompt_value"})
    for made in (scored.hidden_BSD, scored.prompt_value_B):
        assert not [step for step in steps_back(made) if step.startswith("IndexBackward")]


def tokens_read(trunk: Trunk, batch) -> int:
    """Tokens that the first layer of a Llama was given in one scoring pass."""
    trunk.lm.set_attn_implementation("eager")  # as short rows are read
    assert packs(trunk.lm)  # asked before, so that the trial is not counted
    seen: list[int] = []
    layer = trunk.lm.model.layers[0].mlp
    handle = layer.register_forward_hook(lambda _m, args, _out: seen.append(args[0].shape[:-1].numel()))
    with torch.no_grad():
        Policy(trunk, "policy", budget=10_000).score(batch, want={"logp"})
    handle.remove()
    return sum(seen)


def test_a_prompt_is_read_once_and_a_row_that_stands_twice_too():
    trunk = trunk_of("llama")
    # prompt of 5 with two different responses of 4 and 5 in one row, padding in the other; joined, four rows of 10
    assert tokens_read(trunk, batch_of(PROMPTS, RESPONSES)) == 2 * (5 + 4 + 5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_with_gradient_checkpointing_layers_are_computed_twice(attention):
    trunk = trunk_of("llama")
    trunk.lm.set_attn_implementation(attention)
    assert packs(trunk.lm)  # asked before, so that the trial is not counted
    plain, grad = results(trunk, [batch_of(PROMPTS, RESPONSES)])
    trunk.checkpoint_activations()
    forwards = []
    handle = trunk.lm.model.layers[0].mlp.register_forward_pre_hook(lambda *_: forwards.append(1))
    again, grad_again = results(trunk, [batch_of(PROMPTS, RESPONSES)])
    handle.remove()
    assert len(forwards) == 2, "the backward pass should have computed the layer again"
    for a, b in zip(plain["logp"], again["logp"], strict=True):
        torch.testing.assert_close(a, b, atol=3e-5, rtol=1e-4)
    for key in grad:
        torch.testing.assert_close(grad[key], grad_again[key], atol=2e-4, rtol=1e-3)


def mistral(window: int | None):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MistralForCausalLM(MistralConfig(vocab_size=61, num_key_value_heads=2, sliding_window=window, **sizes))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_layer_keeps_its_window(attention):
    lm = mistral(window=4)
    lm.set_attn_implementation(attention)
    batch = batch_of(PROMPTS, RESPONSES)
    assert windows(lm) == {"sliding_attention": 4} and packs(lm)
    packed, joined = packed_hidden(lm, batch), joined_hidden(lm, batch)
    wide = joined_hidden(mistral(window=None), batch)
    for b, length in enumerate(batch.length_B.tolist()):
        torch.testing.assert_close(packed[b, : length + 1], joined[b, : length + 1], atol=3e-5, rtol=1e-4)
    assert not torch.allclose(joined, wide, atol=1e-3), "the window should be narrow enough to matter"


def test_models_that_ignore_masks_or_positions_are_read_row_by_row():
    torch.manual_seed(0)
    counts_columns = BloomForCausalLM(BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4))
    has_no_attention = MambaForCausalLM(MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4))
    deaf = build("llama")  # takes positions, and does not listen
    deaf.model.register_forward_pre_hook(lambda _m, args, kw: (args, kw | {"position_ids": None}), with_kwargs=True)
    batch = batch_of(PROMPTS, RESPONSES)
    for lm in (counts_columns, has_no_attention, deaf):
        assert not packs(lm)
        torch.testing.assert_close(response_hidden(lm, batch), joined_hidden(lm, batch))


def test_kinds_of_layers_that_are_not_known_are_read_row_by_row():
    lm = mistral(window=None)
    assert packs(lm)
    lm.config.layer_types = ["full_attention", "chunked_attention"]
    assert windows(lm) is None and not packs(lm)


def test_distinct_rows_keep_their_order():
    x_BN = torch.tensor([[0, 2], [3, 1], [0, 2], [0, 1], [3, 1]])
    first, inverse = distinct_rows(x_BN)
    assert first.tolist() == [0, 1, 3] and inverse.tolist() == [0, 1, 0, 2, 1]


def test_a_token_with_the_number_of_padding_is_a_token():
    batch = batch_of([[0, 5], [5], [5]], [[20], [20, 0], [20]])
    assert batch.distinct_prompts[1].tolist() == [0, 1, 1]
    assert batch.distinct[1].tolist() == [0, 1, 2]


def test_joined_batches_keep_prompts_and_responses_apart():
    one, other = batch_of([[5, 6]], [[20, 1]]), batch_of([[5, 6], [7, 8, 9]], [[21], [22, 23, 1]], left=False)
    both = one.joined(other)
    assert both.prompt_length_B.tolist() == [2, 2, 3] and both.length_B.tolist() == [2, 1, 3]
    assert both.distinct_prompts[1].tolist() == [0, 0, 1], "on whichever side the padding is"
    assert both.mask_BT.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]], "padding is on the right"
    for ids, mask, rows in (
        (both.prompt_ids_BP, both.prompt_mask_BP, [[5, 6], [5, 6], [7, 8, 9]]),
        (both.ids_BT, both.mask_BT, [[20, 1], [21], [22, 23, 1]]),
    ):
        assert [r[m.bool()].tolist() for r, m in zip(ids, mask, strict=True)] == rows
