"""What is said of launches and models that weights cannot be sharded for; `test_ranks.py` has what sharding does."""

from __future__ import annotations

import pytest
import torch
from tiny import build
from toy import trunk_of

from homestretch import ranks
from homestretch.collectives import dealt, in_step, whole
from homestretch.errors import InputError
from homestretch.policies.load import choose_device
from homestretch.policies.memory import within_memory
from homestretch.policies.sharding import layers, make_whole, whole_weights
from homestretch.training.optim import clip_gradients

FSDP = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
REFUSED = {
    "need FSDP2: set fsdp_version: 2": {"FSDP_VERSION": "1"},
    "cannot follow fsdp_offload_params": {"FSDP_OFFLOAD_PARAMS": "true"},
    "gradient_checkpointing instead": {"FSDP_ACTIVATION_CHECKPOINTING": "true"},
    "layer by layer: set fsdp_auto_wrap_policy": {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"},
    "set fsdp_reshard_after_forward: true": {"FSDP_RESHARD_AFTER_FORWARD": "false"},
    "launched with DeepSpeed, .* launch/fsdp to shard weights": {"ACCELERATE_USE_DEEPSPEED": "true"},
    "launched with Megatron-LM": {"ACCELERATE_USE_MEGATRON_LM": "true"},
    "launched with a parallelism configuration": {"ACCELERATE_USE_PARALLELISM_CONFIG": "true"},
}


def launch(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in (FSDP | environment).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_launch_that_cannot_be_followed_is_refused_before_the_processes_meet(monkeypatch, sentence):
    launch(monkeypatch, **REFUSED[sentence])
    with pytest.raises(InputError, match=sentence):
        choose_device("cpu")


def test_weights_are_sharded_where_several_processes_were_launched_so(monkeypatch):
    assert not ranks.sharded()
    launch(monkeypatch)
    with ranks.alone():
        assert ranks.sharded()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not ranks.sharded()


def test_layers_are_those_of_the_configuration_or_of_transformers(monkeypatch):
    monkeypatch.setenv("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")
    assert [type(layer).__name__ for layer in layers(trunk_of("llama"))] == ["LlamaDecoderLayer"] * 2
    assert len(layers(trunk_of("t5"))) == 4  # of the encoder and of the decoder
    monkeypatch.setenv("FSDP_TRANSFORMER_CLS_TO_WRAP", "LlamaMLP")
    assert [type(layer).__name__ for layer in layers(trunk_of("llama"))] == ["LlamaMLP"] * 2
    with pytest.raises(InputError, match=r"none of the layers \['LlamaMLP'\]"):
        layers(trunk_of("t5"))


def test_memory_that_runs_out_in_a_shared_pass_ends_the_run(monkeypatch):
    def attempt(budget: int) -> None:
        raise torch.OutOfMemoryError

    launch(monkeypatch)
    with pytest.raises(InputError, match=r"30 tokens in a pass.* micro_batch_tokens at 15 or less"):
        within_memory(attempt, 30)


def test_a_whole_trunk_is_left_as_it_is():
    trunk = trunk_of("llama")
    before = {name: (id(p), p.clone()) for name, p in trunk.named_parameters()}
    with whole_weights(trunk):
        pass
    make_whole(trunk)
    assert all(id(p) == before[n][0] and torch.equal(p, before[n][1]) for n, p in trunk.named_parameters())
    tensor = torch.ones(3)
    assert whole(tensor) is tensor and torch.equal(dealt(tensor, like=torch.zeros(3)), tensor)
    assert in_step(["a", "b"], "c") == [("a", True), ("b", True)]


def test_clipping_is_that_of_torch():
    models = [build("llama"), build("llama")]
    for model in models:
        model(torch.arange(4)[None]).logits.square().sum().backward()
    ours = clip_gradients(models[0].parameters(), 0.5)
    assert ours == float(torch.nn.utils.clip_grad_norm_(models[1].parameters(), 0.5)) > 0.5
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert clip_gradients([torch.nn.Parameter(torch.ones(2))], 0.5) == 0.0
