"""vLLM as the sampler: the policy's weights are handed over before each round, in this process.

What it draws comes from other kernels than those that the policy is scored with, so its log-probabilities travel with
the samples, and the methods weigh them (`algorithms.rollouts`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from homestretch import ranks
from homestretch.errors import InputError
from homestretch.generation.engine import Sample
from homestretch.policies.adapters import merged
from homestretch.policies.policy import Policy
from homestretch.seeds import fold


class VLLMEngine:
    """A vLLM engine with the architecture of `model`, and of each policy the weights that it has when it is sampled.

    `max_length` is the longest prompt and response together, in tokens; `memory_share` the part of the device's memory
    that vLLM may fill with its own copy of the weights and its caches. Raises InputError where vLLM is not installed,
    where several processes share the run, and for encoder-decoder models, which vLLM does not have.
    """

    def __init__(self, model: str | Path, policy: Policy, *, max_length: int, memory_share: float) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise InputError("`use_vllm` needs vLLM: pip install -e '.[vllm]' in the repository, or leave it out.")
        if policy.trunk.is_encoder_decoder:
            raise InputError("vLLM has no encoder-decoder models: leave `use_vllm` out.")
        if ranks.count() > 1:
            raise InputError("`use_vllm` is for one process: leave it out, or launch without accelerate.")
        # In this process the weights are handed over as they lie; both are read when vLLM is first imported.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        from vllm import LLM

        with policy.autocast():
            mixed = torch.is_autocast_enabled(policy.device.type)
        self.llm = LLM(
            model=str(model),
            skip_tokenizer_init=True,
            load_format="dummy",
            dtype=torch.bfloat16 if mixed else policy.trunk.lm.dtype,
            max_model_len=max_length,
            logprobs_mode="processed_logprobs",  # of the distribution that is drawn from
            enforce_eager=policy.device.type == "cpu",
            gpu_memory_utilization=memory_share,  # of the machine's memory on a CPU
        )

    def draw(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        *,
        eos_ids: Sequence[int],
        max_new_tokens: int,
        seed: int,
        num_samples: int,
    ) -> list[list[Sample]]:
        """`num_samples` responses of the policy for each prompt of token ids, at the policy's temperature, in order.

        Each prompt has a seed of its own. Log-probabilities are those of vLLM's distribution.
        """
        from vllm import SamplingParams

        self._take(policy)
        settings = [
            SamplingParams(
                n=num_samples,
                temperature=policy.temperature,
                max_tokens=max_new_tokens,
                seed=fold(seed, i) % 2**31,
                stop_token_ids=list(eos_ids),
                ignore_eos=True,  # the end markers are those above
                logprobs=0,
                detokenize=False,
            )
            for i in range(len(prompts))
        ]
        made = self.llm.generate([{"prompt_token_ids": ids} for ids in prompts], settings, use_tqdm=False)
        return [[_sample(output) for output in request.outputs] for request in made]

    def _take(self, policy: Policy) -> None:
        with torch.no_grad(), merged(policy.trunk.model, policy.adapter):
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": named_weights(policy.trunk.lm)})
        policy.trunk.active = policy.adapter
        self.llm.apply_model(_tie_head)
        self.llm.reset_prefix_cache()


def named_weights(lm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Base weights by the names that they have without adapters around them; shared ones once."""
    for name, weight in lm.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight.detach()


def _tie_head(model: nn.Module) -> None:
    # vLLM loads shared weights into the embedding alone; on a CPU the head multiplies by a rearranged copy.
    head, embedding = getattr(model, "lm_head", None), getattr(getattr(model, "model", None), "embed_tokens", None)
    if head is not None and embedding is not None and head.weight is embedding.weight:
        head.quant_method.process_weights_after_loading(head)


def _sample(output: Any) -> Sample:
    ids = list(output.token_ids)
    logp = [found[token].logprob for found, token in zip(output.logprobs, ids, strict=True)]
    return Sample(ids, logp, output.finish_reason == "stop")
