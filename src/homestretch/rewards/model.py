"""Reward models: a scalar head, and an adapter or a whole trunk, saved and loaded together.

model/
  reward.json            kind, base model and its revision, adapter or full
  head.safetensors       the head; a folder without it is refused
  adapter_model.safetensors, adapter_config.json      LoRA, in peft's format; or
  model.safetensors, config.json                      a fully trained trunk
  tokenizer files
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.data.collate import collate_texts
from homestretch.errors import InputError
from homestretch.policies.adapters import activate, save_adapter, without_noise
from homestretch.policies.load import load_tokenizer, load_trunk, resolve
from homestretch.policies.policy import Policy
from homestretch.policies.precision import autocast
from homestretch.policies.sharding import make_whole
from homestretch.policies.trunk import Trunk

ADAPTER = "reward"
DESCRIPTION, HEAD = "reward.json", "head.safetensors"


@dataclass
class RewardModel:
    """A reward that reads prompt and completion with a language model (Solway 2024; sheet 2.3).

    Called with texts it follows the `Reward` protocol, whatever the policy's tokenizer; `score_ids` takes token ids
    of its own tokenizer. Both give logits: above 0 the completion looks like a reference.
    """

    policy: Policy
    tokenizer: PreTrainedTokenizerBase

    @torch.no_grad()
    def score_ids(self, batch: SequenceBatch) -> Tensor:
        """Logits (B,) of token ids."""
        reward_B = self.policy.score(batch, want={"reward"}).reward_B
        assert reward_B is not None
        return reward_B

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], terminated: Sequence[bool] | None = None, **_: Any
    ) -> list[float]:
        """Logits of texts. `terminated` says which completions ended by themselves; by default all did."""
        ended = [True] * len(completions) if terminated is None else terminated
        batch = collate_texts(
            self.tokenizer,
            prompts,
            completions,
            terminated=ended,
            is_encoder_decoder=self.policy.trunk.is_encoder_decoder,
        )
        return self.score_ids(batch).tolist()


def save_reward(
    trunk: Trunk,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    base: str,
    kind: str,
    revision: str | None = None,
) -> None:
    """Write head, adapter (or trunk) and tokenizer to `folder`. `base` is where the base weights are, on the Hub in
    that `revision`.

    Of several processes the first writes. A sharded trunk can do nothing any more afterwards.
    """
    make_whole(trunk)
    if not ranks.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with_adapter = isinstance(trunk.model, PeftModel)
    if with_adapter:
        save_adapter(trunk.model, folder, ADAPTER)
    else:
        trunk.lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file({k: v.detach().cpu() for k, v in trunk.heads["reward"].state_dict().items()}, folder / HEAD)
    description = {"kind": kind, "base": _from(folder, base) if with_adapter else None, "adapter": with_adapter}
    if with_adapter and not Path(resolve(base)).is_dir():
        description["revision"] = revision
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


def _from(folder: Path, base: str) -> str:
    """A base as `reward.json` names it, so that it is found from any working folder: one of the same run by its way
    from there, which moves with the run, another folder by its absolute path, and what is no folder by its name."""
    if not Path(base).is_dir():
        return base
    folder, place = folder.resolve(), Path(base).resolve()
    return os.path.relpath(place, folder) if place.is_relative_to(folder.parent.parent) else str(place)


def load_reward(
    folder: str | Path, *, trunk: Trunk | None = None, budget: int = 4096, bf16: bool | None = None, **options: Any
) -> RewardModel:
    """A saved reward model; with `trunk`, its adapter and head are added to that trunk instead of a new one.

    `bf16` is mixed precision, by default where the hardware multiplies bfloat16 matrices; `options` are those of
    `load_lm`, of which a revision counts where `reward.json` has none.

    Raises InputError when the folder is not a reward model or its head is missing.
    """
    folder = Path(folder)
    description = read_description(folder)
    adapter = ADAPTER if description["adapter"] else None
    if trunk is None or adapter is None:
        known = {} if description["revision"] is None else {"revision": description["revision"]}
        trunk = load_trunk(description["base"] or str(folder), **options | known)
    if adapter:
        add_saved_adapter(trunk, folder, ADAPTER)
    trunk.add_head("reward", zero=False)
    trunk.heads["reward"].load_state_dict(load_file(folder / HEAD))
    policy = Policy(trunk, adapter, budget=budget, autocast=autocast(trunk.device, bf16))
    code = bool(options.get("trust_remote_code", False))
    return RewardModel(policy, load_tokenizer(str(folder), trust_remote_code=code))


def read_description(folder: Path) -> dict[str, Any]:
    """What `reward.json` says, with `base` as a name to load, and `revision` None where that is no name on the Hub or
    nothing is said. Raises InputError when the folder is not a whole reward model."""
    if not (folder / DESCRIPTION).is_file():
        raise InputError(
            f"{folder} is not a reward model (no {DESCRIPTION}); "
            "make one with the stage `reward` or `homestretch reward fit`."
        )
    if not (folder / HEAD).is_file():
        raise InputError(
            f"{folder} has no {HEAD}: a reward model without its head scores at random; train or copy it again."
        )
    description = json.loads((folder / DESCRIPTION).read_text())
    base = description.get("base")
    base = os.path.normpath(folder / base) if base and base.startswith(os.pardir) else base
    return description | {"base": base, "revision": description.get("revision")}


def add_saved_adapter(trunk: Trunk, folder: Path, name: str) -> None:
    """Load the peft adapter in `folder` into the trunk under `name`."""
    with without_noise():
        if isinstance(trunk.model, PeftModel):
            trunk.model.load_adapter(str(folder), adapter_name=name)
        else:
            trunk.model = PeftModel.from_pretrained(trunk.model, str(folder), adapter_name=name)
    activate(trunk.model, trunk.active)
