"""Memory that runs out: smaller micro-batches, the same result, remembered after a resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_loop import CONFIG, Killed, Weighted, rewarded, rows_of, same
from toy import accelerator, batch_of, plan, trunk_of

from homestretch.algorithms.base import Models
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.errors import InputError
from homestretch.policies.memory import is_out_of_memory, within_memory
from homestretch.policies.policy import Policy
from homestretch.training import checkpoint
from homestretch.training.loop import fit

ROOM = 12


class LittleMemory(Weighted):
    """Memory has room for ROOM tokens in every round of `rounds`, for anything in others."""

    def __init__(self, rounds: range) -> None:
        self.rounds, self.round = rounds, 0

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        terms = super().loss(models, batch)
        if self.round in self.rounds and int(batch.tokens_B.sum()) > ROOM:
            terms.terms.sum().backward()  # it may run out in the middle of the backward pass
            raise torch.OutOfMemoryError("injected")
        return terms


def run(folder: Path, *, budget: int, rounds: range = range(0), killed_at: int | None = None) -> dict:
    trunk, algorithm = trunk_of("llama", std=0.3), LittleMemory(rounds)

    def batches(number: int) -> SequenceBatch:
        if number == killed_at:
            raise Killed
        algorithm.round = number
        return rewarded(number)

    made = plan(folder, trunk, CONFIG, rounds=4, budget=budget, batch_of=batches, every=1)
    fit(algorithm, Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    return dict(trunk.named_parameters())


def losses(folder: Path) -> list[dict]:
    return [row for row in rows_of(folder) if "loss" in row]


def test_training_goes_on_with_half_the_tokens_as_if_it_had_begun_with_them(tmp_path, capsys):
    plain = run(tmp_path / "plain", budget=7)
    halved = run(tmp_path / "halved", budget=30, rounds=range(4))
    assert same(halved, plain)  # to the bit, noise included
    assert rows_of(tmp_path / "plain") == losses(tmp_path / "halved")
    others = [row for row in rows_of(tmp_path / "halved") if "loss" not in row]
    advice = "Memory ran out; passes have 7 tokens from here on, and from the start with toy.micro_batch_tokens=7."
    assert others == [{"step": 1, "micro_batch_tokens": 7, "doctor": advice}]
    said = capsys.readouterr().err
    assert "memory ran out with 30 tokens in a pass; trying 15." in said
    assert said.count("memory ran out") == 2  # 30 and 15; never again


@pytest.mark.slow
def test_the_size_that_fits_is_remembered_where_a_run_goes_on(tmp_path):
    whole = run(tmp_path / "whole", budget=30, rounds=range(1, 2))
    with pytest.raises(Killed):
        run(tmp_path / "killed", budget=30, rounds=range(1, 2), killed_at=2)
    resumed = run(tmp_path / "killed", budget=30)
    assert same(resumed, whole)
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    assert checkpoint.read_state(tmp_path / "killed" / "checkpoints" / "checkpoint-4")["budget"] == 7
    run(tmp_path / "plain", budget=30)
    assert losses(tmp_path / "whole")[0] == losses(tmp_path / "plain")[0]  # the trouble came after it


def test_scoring_goes_on_with_half_the_tokens(monkeypatch):
    trunk, batch = trunk_of("llama", std=0.3), batch_of(0)
    policy, roomy = (Policy(trunk, None, budget=n) for n in (40, 10))
    inner, seen = policy._forward, []

    def forward(part: SequenceBatch, **options: object) -> object:
        seen.append(int(part.tokens_B.sum()))
        if seen[-1] > ROOM:
            raise torch.OutOfMemoryError("injected")
        return inner(part, **options)

    monkeypatch.setattr(policy, "_forward", forward)
    with torch.no_grad():
        ours, theirs = policy.score(batch, want={"logp"}), roomy.score(batch, want={"logp"})
        assert torch.equal(ours.logp_BT, theirs.logp_BT)
        assert policy.budget == 10 and sum(n > ROOM for n in seen) == 2
        policy.score(batch, want={"logp"})
        assert sum(n > ROOM for n in seen) == 2


def test_too_little_memory_for_one_sequence_is_a_sentence():
    tried = []

    def attempt(budget: int) -> None:
        tried.append(budget)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="not enough memory for one sequence: set gradient_checkpointing=true"):
        within_memory(attempt, 20)
    assert tried == [20, 10, 5, 2, 1]


def test_other_errors_are_left_alone():
    def attempt(budget: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(attempt, 4)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes"))
