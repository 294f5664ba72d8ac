"""Base weights dealt out to the processes of a run (FSDP2), where `accelerate launch` was told so.

Each process keeps a part of every base weight, and in full fine-tuning of its gradient and optimiser state. A pass
gathers a layer at a time. Decoding takes as many steps as a process's own texts are long, so it gathers all weights
once, and lets them go at its end. Adapters and heads are small, come after, and stay whole.

torch gathers when a module is called, and must see the trunk called first: everything that reads weights is a call of
the trunk, or stands in a block `whole_weights`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.collectives import whole
from homestretch.errors import InputError
from homestretch.policies.packed import packs
from homestretch.policies.trunk import Trunk

REFUSED = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing (a stage has gradient_checkpointing instead)",
}
"""Settings of accelerate that would be read and not followed."""


def check_settings() -> None:
    """Raise InputError unless the processes were launched with settings of FSDP that are followed here."""
    if not hasattr(FSDPModule, "reset_iter_state"):
        raise InputError(f"Sharded weights need torch 2.13 or newer, not {torch.__version__}; install that.")
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("Sharded weights need FSDP2: set fsdp_version: 2 in accelerate's configuration.")
    for name, setting in REFUSED.items():
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise InputError(f"homestretch cannot follow {setting}: leave it out of accelerate's configuration.")
    if os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() not in ("true", "1"):
        raise InputError("homestretch shards weights after each pass: set fsdp_reshard_after_forward: true.")
    if os.environ.get("FSDP_AUTO_WRAP_POLICY", "").upper() == "SIZE_BASED_WRAP":
        raise InputError("homestretch shards layer by layer: set fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP.")
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # transformers would read weights in one process alone


def shard(trunk: Trunk, device: torch.device) -> Trunk:
    """The same trunk, its weights on the device of this process and dealt out to all. It has no adapters or heads yet.

    Raises InputError where the model does not have the layers that accelerate's configuration names.
    """
    if not trunk.is_encoder_decoder:
        packs(trunk.lm)  # found out now, since it runs parts of the model
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    options = {
        "mesh": mesh,
        "reshard_after_forward": True,
        "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32),  # sums; each stage has its own for the rest
    }
    for layer in layers(trunk):
        fully_shard(layer, **options)
    fully_shard(trunk, **options)
    register_fsdp_forward_method(trunk, "embed")
    for module in _parts(trunk):
        module.set_gradient_divide_factor(1.0)  # sums: the denominator is that of the whole batch
        module.set_force_sum_reduction_for_comms(True)
    # Layers of transformers add to what others return out of place, so that a view does no harm.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    _first_pass(trunk)
    return trunk


def layers(trunk: Trunk) -> list[nn.Module]:
    """What is gathered at a time: modules of the classes that accelerate's configuration names, or else of those that
    transformers says must not be split. Raises InputError where the model has none of them."""
    plugin = FullyShardedDataParallelPlugin()
    names = set(plugin.transformer_cls_names_to_wrap or trunk.lm._no_split_modules or ())
    found = [module for module in trunk.modules() if type(module).__name__ in names]
    if not found:
        raise InputError(
            f"The model has none of the layers {sorted(names)} to shard: name the class of its layers as "
            "fsdp_transformer_layer_cls_to_wrap in accelerate's configuration."
        )
    return found


@contextmanager
def whole_weights(trunk: Trunk) -> Iterator[None]:
    """All weights are there in the block, and its parts can be called in any order, by each process as it likes."""
    parts = _parts(trunk)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
        if isinstance(trunk, FSDPModule):
            trunk.reset_iter_state()  # forgets the calls too, of which the processes have made different numbers


@torch.no_grad()
def make_whole(trunk: Trunk) -> None:
    """Put sharded weights together for good in the first process, on the CPU; the trunk can then be saved, not run."""
    if not isinstance(trunk, FSDPModule):
        return
    made: dict[nn.Parameter, nn.Parameter] = {}  # weights that two layers share stay shared
    for module in trunk.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in made:
                tensor = whole(parameter.detach())
                made[parameter] = nn.Parameter(tensor.cpu()) if ranks.is_first() else parameter
            setattr(module, name, made[parameter])


def _parts(trunk: Trunk) -> list[FSDPModule]:
    return [module for module in trunk.modules() if isinstance(module, FSDPModule)]


@torch.no_grad()
def _first_pass(trunk: Trunk) -> None:
    """The module that is called first becomes the root of all others."""
    ids_1N = torch.arange(2)[None]
    trial = SequenceBatch(
        prompt_ids_BP=ids_1N, prompt_mask_BP=torch.ones_like(ids_1N), ids_BT=ids_1N, mask_BT=torch.ones_like(ids_1N)
    )
    trunk(trial.to(trunk.device), adapter=None, want={"hidden"})
