"""What a PPO round takes on 1 to 1,024 accelerators: `homestretch.costs.plan` as a table. See docs/scaling.md."""

from __future__ import annotations

import argparse

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from homestretch.costs.plan import Cluster, Outlook, Task, outlook
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine
from homestretch.policies.shape import shape_of

COMMON = {"vocab_size": 128_256, "num_key_value_heads": 8}
MODELS = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "70B": {"hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80, "num_attention_heads": 64},
}  # fmt: skip
"""Sizes of the Llama 3 family, by weights."""
RANKS = (1, 8, 64, 1024)
HEAD = (
    "model",
    "learns",
    "GPUs",
    "tokens a pass",
    "sft",
    "reward",
    "ppo",
    "decoding",
    "round",
    "longest part",
    "takes over",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The cluster and the round; numbers of an accelerator like the H100 with 80 GB, from its data sheet."""
    group = parser.add_argument_group("plan")
    group.add_argument("--memory", type=float, default=80e9, help="bytes of a GPU")
    group.add_argument("--rate", type=float, default=989e12, help="operations a second of a GPU in bfloat16, dense")
    group.add_argument("--bandwidth", type=float, default=3.35e12, help="bytes a second of its memory")
    group.add_argument("--link", type=float, default=450e9, help="bytes a second between GPUs of a machine, one way")
    group.add_argument("--network", type=float, default=50e9, help="bytes a second of a GPU between machines, one way")
    group.add_argument("--together", type=int, default=8, help="GPUs of a machine")
    group.add_argument("--samples", type=int, default=1024, help="samples of a round")
    group.add_argument("--generations", type=int, default=8, help="samples of a prompt")
    group.add_argument("--batch", type=int, default=256, help="samples of an update")
    group.add_argument("--prompt", type=int, default=512, help="tokens of a prompt")
    group.add_argument("--answer", type=int, default=256, help="tokens of a sample")
    group.add_argument("--rank", type=int, default=16, help="rank of the adapters")


def shape(name: str) -> Shape:
    """The shape of a model of `MODELS`; no weights are made."""
    with torch.device("meta"):
        return shape_of(LlamaForCausalLM(LlamaConfig(**COMMON, **MODELS[name])))


def plan(args: argparse.Namespace) -> str:
    """The table, in Markdown."""
    from homestretch.config.training import MICRO_BATCH_TOKENS
    from homestretch.generation.schedule import MAX_ROWS_ELSEWHERE
    from homestretch.policies.trunk import CHUNK_LOGITS

    cluster = Cluster(Machine(args.rate, args.bandwidth), args.memory, args.link, args.network, args.together)
    task = Task(
        Row(args.prompt, args.answer, args.generations), args.samples, args.batch, MICRO_BATCH_TOKENS,
        MAX_ROWS_ELSEWHERE, CHUNK_LOGITS,
    )  # fmt: skip
    lines = [HEAD, ("---",) * len(HEAD)]
    for name in MODELS:
        made = shape(name)
        for rank in (args.rank, None):
            for ranks in RANKS:
                found = outlook(made, rank, ranks, cluster, task)
                lines.append((name, "all weights" if rank is None else "LoRA", f"{ranks:,}", *cells(found)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(found: Outlook) -> list[str]:
    """A row of the table from the fourth column on; a round counts what fits."""
    fits = [f"{peak / 1e9:.0f}" + ("" if peak <= found.memory else " (!)") for peak in found.peaks.values()]
    seconds = {name: time for name, time in found.seconds.items() if found.decodes or name != "decoding"}
    total, longest = sum(seconds.values()), max(seconds, key=seconds.__getitem__)
    time = f"{total:.0f} s" if total >= 10 else f"{total:.1f} s"
    return [
        f"{found.pass_tokens:,}", *fits,
        (time if found.decodes else f"{time} and decoding") if found.trains else "-",
        f"{longest}, {seconds[longest] / total:.0%}" if found.trains else "memory",
        ", ".join(found.engines) or "-",
    ]  # fmt: skip


def default_plan() -> str:
    """The table for the default numbers, as the documentation has it."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return plan(parser.parse_args([]))
