"""Products from packed weights: those of the plain layers but for rounding, and afterwards the plain layers again."""

from __future__ import annotations

import pytest
import torch
from test_engine import ENDS, NEW, PROMPTS, policy_of
from tiny import BUILDERS, build
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies import prepacked as module
from homestretch.policies.prepacked import available, prepacked

pytestmark = pytest.mark.skipif(not available(), reason="this build of torch has no oneDNN")
IDS = torch.tensor([[5, 6, 7, 8], [30, 31, 32, 33]])


def logits(lm: PreTrainedModel) -> Tensor:
    more = {"decoder_input_ids": IDS} if lm.config.is_encoder_decoder else {}
    with torch.no_grad():
        return lm(input_ids=IDS, **more).logits


def patched(lm: nn.Module) -> set[str]:
    """Names of the layers whose products are replaced."""
    return {name for name, layer in lm.named_modules() if "forward" in vars(layer)}


@pytest.fixture
def packed_rows(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what has been multiplied by packed weights."""
    for dtype in (torch.float32, torch.bfloat16):
        available(dtype)  # multiplies once itself
    seen: list[tuple[int, ...]] = []
    multiply = module._multiply

    def counted(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(tuple(x.shape))
        return multiply(x, packed, bias)

    monkeypatch.setattr(module, "_multiply", counted)
    return seen


@pytest.mark.parametrize("name", BUILDERS)
def test_all_products_come_from_packed_weights_and_afterwards_none(name, packed_rows):
    lm = build(name)
    before = logits(lm)
    with prepacked(lm):
        torch.testing.assert_close(logits(lm), before, atol=1e-4, rtol=1e-4)
    assert len(packed_rows) == sum(isinstance(m, (nn.Linear, Conv1D)) for m in lm.modules())
    assert patched(lm) == set()
    assert torch.equal(logits(lm), before)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 6), (1, 3, 6), (0, 6)])
def test_a_layer_gives_x_times_w_plus_b(bias, shape):
    layer = nn.Linear(6, 5, bias=bias)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = x.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0.0)
    with torch.no_grad(), prepacked(layer):
        found = layer(x)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_mixed_precision_has_copies_of_its_own_type(name, packed_rows):
    if not available(torch.bfloat16):
        pytest.skip("this machine has no such products of bfloat16")
    lm = build(name)
    exact = logits(lm)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = logits(lm)
        with prepacked(lm):
            found = logits(lm)
    assert found.dtype == before.dtype
    assert (found - before).abs().max() <= (before - exact).abs().max(), "no further away than rounding takes it"
    assert len(packed_rows) == sum(isinstance(m, (nn.Linear, Conv1D)) for m in lm.modules())


def test_where_the_type_has_no_such_products_mixed_precision_is_left_alone(packed_rows, monkeypatch):
    lm, there = build("llama"), available
    monkeypatch.setattr(module, "available", lambda *dtype: there() and not dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = logits(lm)
        with prepacked(lm):
            assert torch.equal(logits(lm), before)
    assert packed_rows == []


def test_both_types_of_one_block_are_right(packed_rows):
    layer, x = nn.Linear(6, 5), torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), prepacked(layer):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = layer(x)
        torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias, atol=1e-5, rtol=1e-5)
    assert rounded.dtype == torch.bfloat16 or not available(torch.bfloat16)
    torch.testing.assert_close(rounded.float(), x @ layer.weight.T + layer.bias, atol=0.05, rtol=0.05)


def test_layers_that_are_more_than_a_product_are_left_alone():
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = nn.Sequential(nn.Linear(6, 6), Doubled(6, 6), nn.Linear(6, 6), nn.Linear(6, 6).double())
    other = model[2].forward = lambda x: x + 1
    with prepacked(model):
        assert patched(model) == {"0", "2"}
        assert model[2].forward is other
    assert patched(model) == {"2"}


def test_what_has_no_room_stays_as_it_is(monkeypatch):
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    weight = 8 * 8 * 4
    monkeypatch.setattr(module, "total", lambda device: round(2.5 * 1.5 * weight / module.PACKED_SHARE))
    with prepacked(model):
        assert patched(model) == {"0", "1"}


def test_without_onednn_nothing_changes(monkeypatch):
    model = nn.Sequential(nn.Linear(6, 6))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    available.cache_clear()
    try:
        with prepacked(model):
            assert patched(model) == set()
    finally:
        available.cache_clear()


def test_layers_compute_as_before_where_the_block_fails():
    lm = build("llama")
    with pytest.raises(KeyboardInterrupt), prepacked(lm):
        raise KeyboardInterrupt
    assert patched(lm) == set()


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("name", BUILDERS)
def test_texts_are_those_without_packing(name, adapter, packed_rows, monkeypatch):
    policy = policy_of(build(name), adapter=adapter)
    options = {"eos_ids": ENDS, "sampling": SamplingConfig(max_new_tokens=NEW), "seed": 3, "num_samples": 2}
    fast = generate(policy, PROMPTS, **options)
    assert packed_rows, "decoding packs the weights"
    packed_rows.clear()
    monkeypatch.setattr(module, "available", lambda: False)
    slow = generate(policy, PROMPTS, **options)
    assert packed_rows == []
    for group, plain in zip(fast, slow, strict=True):
        assert [s.ids for s in group] == [s.ids for s in plain]
        for one, two in zip(group, plain, strict=True):
            assert one.logp == pytest.approx(two.logp, abs=1e-4)


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_that_are_rounded_once_give_the_products_of_mixed_precision(name, monkeypatch):
    """What a GPU multiplies by, on the CPU's own mixed precision."""
    monkeypatch.setattr(module, "PRODUCTS", {"cpu": module._rounded_product})
    lm, multiplied = build(name), []
    plain = logits(lm)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = logits(lm)
    monkeypatch.setattr(
        module, "linear", lambda x, *of: multiplied.append(of[0].data_ptr()) or nn.functional.linear(x, *of)
    )
    with prepacked(lm):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for _ in range(2):
                torch.testing.assert_close(logits(lm), before, atol=1e-2, rtol=1e-2)
        layers = sum(isinstance(m, (nn.Linear, Conv1D)) for m in lm.modules())
        assert len(multiplied) == 2 * layers and len(set(multiplied)) == layers, "each weight is rounded once"
        assert torch.equal(logits(lm), plain), "other products are as they were"
    assert patched(lm) == set()
    assert not torch.equal(before, plain)
