"""Toy runs that are the same on one process and on several; `test_ranks.py` compares the two.

torchrun --nproc_per_node 2 tests/ranked.py OUT
ACCELERATE_USE_FSDP=true FSDP_VERSION=2 torchrun --nproc_per_node 2 tests/ranked.py OUT    the same with sharded weights
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from tiny import VOCAB
from torch.distributed.tensor import DTensor
from toy import accelerator, batch_of, pairs_of, plan, ppo_models, prompts_of, trunk_of

from homestretch import ranks
from homestretch.algorithms.base import Models
from homestretch.algorithms.distill import Distill
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.algorithms.sft import SFT
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.collectives import from_first, gathered, mapped, merged, sum_in_place
from homestretch.config.distill import DistillConfig
from homestretch.config.ift import IFTConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.errors import PeerLost
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.load import choose_device
from homestretch.policies.policy import Policy
from homestretch.training.loop import fit
from homestretch.writing import write_text

RATE = 1e-3
CONFIG = TrainingConfig(learning_rate=RATE, warmup_steps=0)
ROUNDS = 4
BUDGET, ROOM = 30, 12


def uneven(number: int) -> SequenceBatch:
    """Eight rows, in round 1 a single one: then a second process has nothing to do."""
    return batch_of(number, size=1 if number == 1 else 8)


class Asking(SFT):
    """Asks the model without gradients while it makes the loss, as often as this process has micro-batches."""

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        with torch.no_grad():
            models.policy.score(batch, want={"logp"})
        return super().loss(models, batch)


def sft(
    folder: Path,
    *,
    algorithm: SFT | None = None,
    budget: int = BUDGET,
    batch_of: Callable[[int], SequenceBatch] = uneven,
) -> None:
    trunk = trunk_of("llama", std=0.3)
    made = plan(folder, trunk, CONFIG, rounds=ROUNDS, every=2, budget=budget, batch_of=batch_of)
    fit(algorithm or Asking(), Models(policy=Policy(trunk, None, budget=20)), made, accelerator())


class Stopped(Exception):
    """The run ends before its time."""


def parted(folder: Path) -> None:
    """The run `sft`, which stops when half of its rounds are done."""

    def batch_of(number: int) -> SequenceBatch:
        if number == ROUNDS // 2:
            raise Stopped
        return uneven(number)

    with suppress(Stopped):
        sft(folder, batch_of=batch_of)


def adapter(folder: Path) -> None:
    trunk = trunk_of("llama", std=0.3)
    torch.manual_seed(1)
    trunk.add_adapter("policy", CONFIG)
    trunk.checkpoint_activations()
    trained = {name: p for name, p in trunk.named_parameters() if ".policy." in name}
    made = plan(folder, trunk, CONFIG, rounds=ROUNDS, budget=BUDGET, batch_of=uneven, parameters=trained)
    fit(Asking(), Models(policy=Policy(trunk, "policy", budget=20)), made, accelerator())


def ift(folder: Path) -> None:
    trunk = trunk_of("t5", std=0.1)
    made = plan(folder, trunk, CONFIG, rounds=ROUNDS, budget=BUDGET, batch_of=uneven)
    fit(IFT(IFTConfig(embedding="live")), Models(policy=Policy(trunk, None, budget=20)), made, accelerator())


def distill(folder: Path) -> None:
    trunk, teacher = trunk_of("llama", std=0.3), trunk_of("llama", seed=1, std=0.3, whole=True)
    config = DistillConfig(teacher_name_or_path="teacher", learning_rate=RATE, warmup_steps=0, divergence="jsd")
    made = plan(folder, trunk, config, rounds=ROUNDS, budget=BUDGET, batch_of=uneven)
    models = Models(policy=Policy(trunk, None, budget=20), teacher=Policy(teacher, None, budget=20))
    fit(Distill(config, vocabulary=VOCAB), models, made, accelerator())


class LittleMemory(SFT):
    """Memory runs out on more than ROOM tokens, on the last of several processes alone."""

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        terms = super().loss(models, batch)
        is_last = int(os.environ.get("RANK", "0")) + 1 == int(os.environ.get("WORLD_SIZE", "1"))
        if is_last and int(batch.tokens_B.sum()) > ROOM:
            terms.terms.sum().backward()  # it may run out in the middle of the backward pass
            raise torch.OutOfMemoryError("injected")
        return terms


def little_memory(folder: Path) -> None:
    sft(folder, algorithm=LittleMemory())


def pairs(folder: Path) -> None:
    trunk = trunk_of("t5", std=0.3, heads=("reward",))
    made = plan(folder, trunk, CONFIG, rounds=ROUNDS, budget=BUDGET, batch_of=pairs_of)
    fit(RewardModelling("classifier"), Models(policy=Policy(trunk, None, budget=20)), made, accelerator())


def ppo(folder: Path, *, lookahead_k: int | None = None) -> None:
    trunk = trunk_of("llama", std=0.3, heads=("value",))
    config = PPOConfig(
        learning_rate=RATE,
        rollout_batch_size=12,
        train_batch_size=6,
        num_generations=4,
        num_ppo_epochs=2,
        value_warmup_steps=1,
        kl="adaptive",
        kl_horizon=50,
        lookahead_k=lookahead_k,
    )
    made = plan(folder, trunk, config, rounds=ROUNDS, budget=BUDGET, batch_of=lambda n: prompts_of(n, size=12))
    models = ppo_models(trunk, tokens=5, reference=trunk_of("llama", std=0.3))
    fit(PPO(config), models, made, accelerator())


def lookahead(folder: Path) -> None:
    ppo(folder, lookahead_k=2)


RUNS: dict[str, Callable[[Path], None]] = {
    "sft": sft,
    "adapter": adapter,
    "ift": ift,
    "distill": distill,
    "pairs": pairs,
    "ppo": ppo,
    "lookahead": lookahead,
}


def held() -> float:
    """The share of the numbers of a sharded model that this process keeps, after a pass and a text."""
    trunk = trunk_of("llama")
    policy = Policy(trunk, None, budget=20)
    with torch.no_grad():
        policy.score(batch_of(0), want={"logp"})
    generate(policy, [[4, 9]], eos_ids=[VOCAB], sampling=SamplingConfig(max_new_tokens=3))
    kept = [p.to_local() if isinstance(p, DTensor) else p for p in trunk.parameters()]
    return sum(p.numel() for p in kept) / sum(p.numel() for p in trunk.parameters())


def told() -> dict[str, object]:
    """What two processes learn from each other."""
    me = int(os.environ["RANK"])
    asked: list[list[int]] = []

    def squares(numbers: list[int]) -> list[int]:
        asked.append(numbers)
        return [n * n for n in numbers]

    tensors = [torch.tensor([1.0 + me]), torch.full((2, 2), 10.0 * me), torch.tensor([2.0**-9], dtype=torch.bfloat16)]
    sum_in_place(tensors)
    with ranks.alone():
        alone = [gathered(me), ranks.rank(), ranks.count(), ranks.is_first()]
    return {
        "gathered": gathered(me),
        "merged": merged({f"of {me}": me}),
        "from_first": from_first(me),
        "mapped": mapped(squares, range(5)),
        "mapped one": mapped(squares, [7]),
        "asked": asked,
        "sums": [t.tolist() for t in tensors],
        "alone": alone,
        "work": work(),
        "apart": apart(Path(sys.argv[1]) / "apart"),
    }


def work() -> list[int]:
    """Rows that this process itself scores and decodes a token of, out of 8 and of 4 x 2 x 3."""
    trunk, rows = trunk_of("llama"), [0, 0]
    policy = Policy(trunk, None, budget=20)
    trunk.register_forward_pre_hook(lambda _, arguments: rows.__setitem__(0, rows[0] + len(arguments[0])))
    inner = policy.logits

    def logits(hidden_BD: torch.Tensor) -> torch.Tensor:
        rows[1] += len(hidden_BD)
        return inner(hidden_BD)

    policy.logits = logits
    with torch.no_grad():
        policy.score(batch_of(0), want={"logp"})
    prompts = [[4 + i, 9] for i in range(4)]
    generate(policy, prompts, eos_ids=[VOCAB], sampling=SamplingConfig(max_new_tokens=3), num_samples=2)
    return rows


def apart(folder: Path) -> str:
    """What is said of a process whose weights have become others."""
    trunk = trunk_of("llama")

    def validate(number: int) -> dict[str, float]:
        with torch.no_grad():
            next(trunk.parameters())[0, 0] += int(os.environ["RANK"])
        return {}

    made = plan(folder, trunk, CONFIG, rounds=1, validate=validate)
    try:
        fit(SFT(), Models(policy=Policy(trunk, None, budget=20)), made, accelerator())
    except PeerLost as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    choose_device("cpu")
    out = Path(sys.argv[1])
    for name, run in RUNS.items():
        run(out / name)
    if ranks.sharded():
        parted(out / "parted")
        sft(out / "resumed")
        write_text(out / "held.json", json.dumps(gathered(held())))
    else:
        little_memory(out / "little_memory")
        write_text(out / "told.json", json.dumps(gathered(told())))
