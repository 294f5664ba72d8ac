"""Attention of short rows on a CPU: plain products, the same results, and the model left as it was."""

from __future__ import annotations

import pytest
import torch
from test_policies import batch_of as rows_of
from test_shared_prompts import PROMPTS, RESPONSES, results, trunk_of

from homestretch.policies import attention
from homestretch.policies.attention import cells, plain_if_short
from homestretch.policies.policy import Policy


def used(trunk, batch) -> set[str]:
    """The attention of every layer of one pass."""
    seen: set[str] = set()
    handles = [
        layer.self_attn.register_forward_hook(lambda module, *_: seen.add(module.config._attn_implementation))
        for layer in trunk.lm.model.layers
    ]
    with torch.no_grad():
        Policy(trunk, "policy", budget=10_000).score(batch, want={"logp"})
    for handle in handles:
        handle.remove()
    return seen


def test_cells_are_squared_lengths_of_prompts_with_all_their_responses() -> None:
    # (5 + 4 + 5 + 4)^2 tokens of the first prompt, (3 + 2 + 2)^2 of the second
    assert cells(rows_of(PROMPTS, RESPONSES)) == 18**2 + 7**2


@pytest.mark.parametrize(("limit", "expected"), [(18**2 + 7**2, "eager"), (18**2 + 7**2 - 1, "sdpa")])
def test_short_rows_alone_are_attended_to_plainly(monkeypatch, limit, expected) -> None:
    trunk, batch = trunk_of("llama"), rows_of(PROMPTS, RESPONSES)
    trunk.lm.set_attn_implementation("sdpa")
    with torch.no_grad():
        Policy(trunk, "policy", budget=10_000).score(batch, want={"logp"})  # packing has tried itself out
    monkeypatch.setattr(attention, "PLAIN_CELLS", limit)
    assert used(trunk, batch) == {expected}
    assert trunk.lm.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "gemma3"])
def test_results_and_gradients_are_those_of_fused_attention(monkeypatch, name) -> None:
    trunk, batch = trunk_of(name), rows_of(PROMPTS, RESPONSES)
    trunk.lm.set_attn_implementation("sdpa")
    plain, plain_grad = results(trunk, [batch])
    monkeypatch.setattr(attention, "PLAIN_CELLS", 0)
    fused, fused_grad = results(trunk, [batch])
    for key, values in fused.items():
        for a, b in zip(plain[key], values, strict=True):
            torch.testing.assert_close(a, b, atol=3e-5, rtol=1e-4)
    for key, grad in fused_grad.items():
        torch.testing.assert_close(plain_grad[key], grad, atol=max(1e-3 * float(grad.abs().max()), 2e-4), rtol=1e-3)


def failing_pass(lm) -> None:
    with plain_if_short(lm, rows_of(PROMPTS, RESPONSES)):
        assert lm.config._attn_implementation == "eager"
        raise ZeroDivisionError


@pytest.mark.parametrize("own", ["sdpa", "eager"])
def test_the_model_gets_its_own_attention_back_after_an_error_too(own) -> None:
    lm = trunk_of("llama").lm
    lm.set_attn_implementation(own)
    with pytest.raises(ZeroDivisionError):
        failing_pass(lm)
    assert lm.config._attn_implementation == own
