"""Steps of fixed shape: the samples of plain steps, from what lies in place alone, as a CUDA graph plays it back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import build
from torch.fx.experimental.proxy_tensor import make_fx
from transformers import PreTrainedModel

from homestretch.generation.engine import Sample, generate, pad_left
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies import policy as policies
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.fixed import COLUMNS, FixedSteps, Run, bucket
from homestretch.policies.graphs import graphed_steps, or_plain
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

CAUSAL = ["llama", "gpt2", "qwen3", "gemma3"]
PROMPTS = [[5, 6, 7], list(range(8, 20)), [13], [30, 31, 30, 31, 32], [44, 3]]
ENDS = [20, 41, 57]


def traced(run: Run) -> Run:
    """What a CUDA graph keeps of a call: its operations on tensors, with all numbers that Python had then, and the
    place of its result."""
    nothing = torch.zeros(0)
    graph, out = make_fx(lambda _: run())(nothing), run()
    return lambda: out.copy_(graph(nothing))


def sampled(policy: Policy, **options: object) -> list[Sample]:
    sampling = SamplingConfig(max_new_tokens=14)
    made = generate(policy, PROMPTS, eos_ids=ENDS, sampling=sampling, seed=3, num_samples=3, **options)
    return [sample for group in made for sample in group]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Run], Run]], list[FixedSteps]]:
    """Lets decoding take fixed steps, and lists them."""

    def use(capture: Callable[[Run], Run]) -> list[FixedSteps]:
        made: list[FixedSteps] = []

        def steps(lm):
            made.append(FixedSteps(lm, capture))
            return made[-1]

        monkeypatch.setattr(policies, "graphed_steps", steps)
        return made

    return use


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("max_rows", [3, 6, 15])
def test_samples_are_those_of_plain_steps(fixed, name, max_rows):
    policy = Policy(Trunk(build(name)), None, budget=1000)
    plain = sampled(policy, max_rows=max_rows)
    captured = []
    fixed(lambda run: captured.append(run) or traced(run))
    for one, two in zip(plain, sampled(policy, max_rows=max_rows), strict=True):
        assert one.ids == two.ids and one.terminated == two.terminated
        assert one.logp == pytest.approx(two.logp, abs=1e-5)
    assert captured


def compared(lm: PreTrainedModel, prompts: list[list[int]], *actions: Callable[[CausalDecoding], object]) -> FixedSteps:
    """The same done with plain and with fixed steps, and held against each other after each action."""
    with Policy(Trunk(lm), None, budget=1000).decoding() as start:
        plain, fixed = (start(*pad_left(prompts)) for _ in range(2))
        fixed.fixed, hidden = FixedSteps(lm, traced), []
        for action in actions:
            for state in (plain, fixed):
                action(state)
            hidden.append((plain.hidden_BD, fixed.hidden_BD))
            assert torch.equal(plain.mask_BL, fixed.mask_BL)
            for a, b in zip(plain.cache.layers, fixed.cache.layers, strict=True):
                torch.testing.assert_close((a.keys, a.values), (b.keys, b.values))
    for expected_BD, found_BD in hidden:
        torch.testing.assert_close(expected_BD, found_BD)
    assert all(room.isfinite().all() for rooms in fixed.fixed.rooms for room in rooms)
    return fixed.fixed


def stepped(*tokens: int) -> Callable[[CausalDecoding], object]:
    return lambda state: state.step(torch.tensor(tokens))


def kept(*rows: int) -> Callable[[CausalDecoding], object]:
    return lambda state: state.keep(torch.tensor(rows))


@pytest.mark.parametrize("name", CAUSAL)
def test_a_token_taken_back_and_rows_in_another_order_between_steps(name):
    threes = [stepped(*[token] * 5) for token in (33, 34, 35)]
    after = stepped(36, 37, 38, 39), stepped(40, 41, 42, 43), stepped(44, 45, 46, 47)
    compared(build(name), PROMPTS, *threes, CausalDecoding.forget_last, kept(4, 2, 2, 0), *after)


def test_what_was_captured_in_smaller_rooms_is_not_played_back_in_larger_ones():
    prompts = [[5] * (COLUMNS - 3), [6, 7], [8], [9, 10]]
    grown = [stepped(33, 34, 35, 36)] * 5
    steps = compared(build("llama"), prompts, *grown, kept(1, 2, 3), *[stepped(37, 38, 39)] * 3)
    assert steps.shapes.keys() == {(4, 2 * COLUMNS), (4, COLUMNS)}


def test_keys_and_values_stay_in_their_place_from_step_to_step():
    lm = build("llama")
    with Policy(Trunk(lm), None, budget=1000).decoding() as start:
        state = start(*pad_left(PROMPTS))
        state.fixed = FixedSteps(lm, traced)
        state.step(torch.tensor([33] * 5))
        place = [layer.keys.data_ptr() for layer in state.cache.layers]
        state.step(torch.tensor([33] * 5))
        state.keep(torch.tensor([0, 1, 4]))
        state.step(torch.tensor([33] * 3))
        assert [layer.keys.data_ptr() for layer in state.cache.layers] == place


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (1, 1, (1, 128)),
        (2, 128, (2, 128)),
        (3, 129, (4, 256)),
        (32, 256, (32, 256)),
        (33, 257, (64, 384)),
        (65, 1, (96, 128)),
    ],
)
def test_buckets(rows, columns, expected):
    assert bucket(rows, columns) == expected


def test_a_step_that_cannot_be_captured_goes_on_as_it_was_and_says_so_once(capsys):
    def refuses(run):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    lm = build("llama")
    capture = or_plain(refuses, lm)
    runs = [lambda: torch.ones(1), lambda: torch.zeros(1)]
    assert [capture(run) for run in runs] == runs
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("without CUDA graphs, which failed: operation not permitted when stream is capturing")


def test_memory_that_runs_out_while_a_step_is_captured_is_not_hidden():
    def refuses(run):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        or_plain(refuses, build("llama"))(lambda: torch.ones(1))


def test_a_cpu_has_no_graphs():
    assert graphed_steps(build("llama")) is None
