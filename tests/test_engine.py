"""The decode loop and rollouts: equal to transformers' `generate`, independent of how rows are grouped, honest logp."""

from __future__ import annotations

import pytest
import torch
from test_policies import batch_of
from tiny import BUILDERS, VOCAB, build
from transformers import GenerationConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.generation.engine import Sample, generate, pad_left
from homestretch.generation.rollout import rollout, with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.policy import Policy
from homestretch.policies.seq2seq import Seq2SeqDecoding
from homestretch.policies.trunk import Trunk

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19], [13], [30, 31, 30, 31, 32], [44, 3]]
NEW = 14
SAMPLED = SamplingConfig(max_new_tokens=NEW)
ENDS = [20, 41, 57]


def policy_of(lm: PreTrainedModel, *, adapter: bool = False) -> Policy:
    trunk = Trunk(lm)
    if adapter:
        trunk.add_adapter("policy", TrainingConfig(lora_r=4))
        torch.manual_seed(5)
        with torch.no_grad():
            for name, parameter in trunk.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.2)
    return Policy(trunk, "policy" if adapter else None, budget=1000)


def by_transformers(lm: PreTrainedModel, prompt: list[int], ends: list[int]) -> list[int]:
    """Greedy continuation of one prompt, end marker included."""
    config = GenerationConfig(
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=0,
        decoder_start_token_id=getattr(lm.config, "decoder_start_token_id", None),
    )
    ids = torch.tensor([prompt])
    out = lm.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0].tolist()
    return out[1:] if lm.config.is_encoder_decoder else out[len(prompt) :]


@pytest.mark.parametrize("name", BUILDERS)
def test_greedy_is_that_of_transformers_token_for_token(name):
    lm = build(name)
    free = [by_transformers(lm, prompt, [VOCAB - 1]) for prompt in PROMPTS]
    ends = [free[0][2], free[1][5]]  # so that rows end at different steps, and some not at all
    expected = [by_transformers(lm, prompt, ends) for prompt in PROMPTS]
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=NEW)
    made = generate(policy_of(lm), PROMPTS, eos_ids=ends, sampling=greedy)
    assert [group[0].ids for group in made] == expected
    assert [group[0].terminated for group in made] == [ids[-1] in ends for ids in expected]
    assert len({len(ids) for ids in expected}) > 1


@pytest.mark.parametrize("name", BUILDERS)
def test_a_row_depends_neither_on_its_neighbours_nor_on_how_many_are_decoded_at_a_time(name):
    policy = policy_of(build(name))
    options = {"eos_ids": ENDS, "sampling": SAMPLED, "seed": 3, "num_samples": 3}
    whole = [[s.ids for s in group] for group in generate(policy, PROMPTS, **options)]
    for max_rows in (1, 6, 7):
        made = generate(policy, PROMPTS, max_rows=max_rows, **options)
        assert [[s.ids for s in group] for group in made] == whole
    others = [[33] * 9, PROMPTS[1], [34], [35, 36], [37] * 20]
    assert [s.ids for s in generate(policy, others, **options)[1]] == whole[1]


def tensors_of(state: CausalDecoding | Seq2SeqDecoding) -> list[torch.Tensor]:
    """All floating-point tensors that a decoding carries from step to step."""
    caches = [state.cache] if isinstance(state, CausalDecoding) else [
        state.cache.self_attention_cache, state.cache.cross_attention_cache]  # fmt: skip
    cached = [t for cache in caches for layer in cache.layers for t in (layer.keys, layer.values)]
    own = [t for t in vars(state).values() if isinstance(t, torch.Tensor) and t.is_floating_point()]
    return own + cached


def reads_in_bfloat16(lm: PreTrainedModel) -> Policy:
    return Policy(Trunk(lm), None, budget=1000, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16))


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart"])
def test_prompts_read_in_bfloat16_go_on_in_the_precision_of_the_weights(name):
    """Of the others, whose positions are rotary, keys and values are float32 without a cast."""
    with reads_in_bfloat16(build(name)).decoding() as start:
        assert {t.dtype for t in tensors_of(start(*pad_left(PROMPTS)))} == {torch.float32}


@pytest.mark.parametrize("name", BUILDERS)
def test_on_a_cpu_prompts_are_read_in_the_policys_precision_and_steps_run_in_that_of_the_weights(name):
    lm, products = build(name), []
    for module in lm.modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            module.register_forward_hook(lambda _module, _inputs, out: products.append(out.dtype))
    with reads_in_bfloat16(lm).decoding() as start:
        state = start(*pad_left(PROMPTS))
        assert set(products) == {torch.bfloat16}
        products.clear()
        state.step(torch.tensor([33] * len(PROMPTS)))
        assert set(products) == {torch.float32}
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=NEW)
    made = generate(reads_in_bfloat16(lm), PROMPTS, eos_ids=ENDS, sampling=greedy, max_rows=2)
    exact = generate(policy_of(lm), PROMPTS, eos_ids=ENDS, sampling=greedy)
    for (one,), (two,) in zip(made, exact, strict=True):
        assert one.logp[0] == pytest.approx(two.logp[0], abs=0.1)


def widths_by_hand(lengths: list[list[int]], limit: int) -> list[int]:
    """Rows of each step where prompts, each with the lengths of its samples, come in as soon as half is free."""
    waiting, left, widths = list(lengths), [], []
    while waiting or left:
        if len(left) <= limit // 2:
            while waiting and len(left) + len(waiting[0]) <= limit:
                left += waiting.pop(0)
        left = [n - 1 for n in left if n > 1]  # the token of a row's last step needs no further step
        widths += [len(left)] if left else []
    return widths


@pytest.mark.parametrize("copies", [1, 2])
def test_waiting_rows_take_the_places_of_finished_ones(monkeypatch, copies):
    widths = []
    step = CausalDecoding.step
    monkeypatch.setattr(
        CausalDecoding, "step", lambda self, token_B: (widths.append(len(token_B)), step(self, token_B))
    )
    prompts, ends = PROMPTS * 6, range(3, VOCAB, 6)  # so many ends that few rows reach the limit
    made = generate(policy_of(build("llama")), prompts, eos_ids=ends, sampling=SAMPLED, max_rows=6, num_samples=copies)
    longest_first = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    lengths = [[len(s.ids) for s in made[i]] for i in longest_first]
    assert widths == widths_by_hand(lengths, limit=6)
    groups = [lengths[i : i + 6 // copies] for i in range(0, len(lengths), 6 // copies)]
    one_after_the_other = sum(max(n for row in group for n in row) - 1 for group in groups)
    assert len(widths) < 0.75 * one_after_the_other, "rows should end at different steps, or this shows nothing"


def test_samples_differ_by_prompt_by_copy_and_by_seed_and_repeat_with_the_same_seed():
    policy = policy_of(build("llama"))
    same = [PROMPTS[0], PROMPTS[0]]
    options = {"eos_ids": [], "sampling": SAMPLED, "num_samples": 4}
    first, again = (generate(policy, same, seed=1, **options) for _ in range(2))
    other = generate(policy, same, seed=2, **options)
    texts = [tuple(s.ids) for group in first + other for s in group]
    assert len(set(texts)) == len(texts) == 16
    assert first == again


def test_ends_are_where_the_samples_say():
    made = generate(policy_of(build("gpt2")), PROMPTS, eos_ids=ENDS, sampling=SAMPLED, num_samples=8, seed=1)
    samples = [sample for group in made for sample in group]
    for s in samples:
        assert not set(s.ids[:-1]) & set(ENDS)
        assert s.terminated == (s.ids[-1] in ENDS)
        assert len(s.ids) == len(s.logp) <= NEW and (s.terminated or len(s.ids) == NEW)
    assert 0 < sum(s.terminated for s in samples) < len(samples)


def test_progress_counts_every_row_and_token_once():
    seen: list[tuple[int, int]] = []
    made = generate(
        policy_of(build("llama")),
        PROMPTS,
        eos_ids=ENDS,
        sampling=SAMPLED,
        num_samples=2,
        max_rows=4,
        on_done=counted(lambda rows, tokens: seen.append((rows, tokens))),
    )
    assert len(seen) > 1
    assert sum(rows for rows, _ in seen) == 10
    assert sum(tokens for _, tokens in seen) == sum(len(s.ids) for group in made for s in group)


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("name", BUILDERS)
def test_log_probabilities_of_a_sample_are_those_of_scoring_it(name, adapter):
    policy = policy_of(build(name), adapter=adapter)
    samples = [group[0] for group in generate(policy, PROMPTS, eos_ids=ENDS, sampling=SAMPLED, seed=4)]
    batch = with_responses(prompts_of(PROMPTS), samples)
    with torch.no_grad():
        logp_BT = policy.score(batch, want={"logp"}).logp_BT
    for row, sample in enumerate(samples):
        expected = torch.tensor(sample.logp)
        torch.testing.assert_close(logp_BT[row, : len(expected)], expected, atol=1e-4, rtol=0)


def prompts_of(prompts: list[list[int]]):
    rows = [TokenizedExample(100 + i, p, [9, 1], 2 + i, reward=1.0) for i, p in enumerate(prompts)]
    return collate(rows)


@pytest.mark.parametrize(
    ("prompts", "copies"),
    [
        ([PROMPTS[1]] * 2 + [PROMPTS[0]] * 2 + [PROMPTS[2]] * 2, 2),  # in runs
        ([PROMPTS[1], PROMPTS[0], PROMPTS[1], PROMPTS[2]], 1),  # not in runs
        ([PROMPTS[0], PROMPTS[0], PROMPTS[1]], 1),  # runs of two lengths
        ([PROMPTS[0]] * 3, 3),
    ],
)
@pytest.mark.parametrize("max_rows", [2, 64])
def test_a_rollout_answers_every_row_in_its_place(prompts, copies, max_rows):
    policy, batch = policy_of(build("llama")), prompts_of(prompts)
    out = rollout(policy, batch, eos_ids=ENDS, sampling=SAMPLED, seed=6, max_rows=max_rows)
    for field in ("prompt_ids_BP", "prompt_mask_BP", "index_B", "ref_length_B"):
        assert torch.equal(getattr(out, field), getattr(batch, field))
    assert out.reward_B is None, "the reward of the stored completion is not that of the sample"
    made = generate(policy, prompts[::copies], eos_ids=ENDS, sampling=SAMPLED, seed=6, num_samples=copies)
    samples = [sample for group in made for sample in group]
    for row, sample in enumerate(samples):
        assert out.ids_BT[row][out.mask_BT[row].bool()].tolist() == sample.ids
        assert bool(out.terminated_B[row]) == sample.terminated
    assert len({tuple(s.ids) for s in samples}) == len(prompts), "copies of a prompt get samples of their own"


def test_a_rollout_keeps_what_the_policy_said_of_its_own_tokens():
    """Log-probabilities, and with a head values; neither where something else was drawn from."""
    policy, batch = policy_of(build("llama")), prompts_of(PROMPTS[:3])
    plain = SamplingConfig(max_new_tokens=9)
    out = rollout(policy, batch, eos_ids=ENDS, sampling=plain, seed=6)
    made = generate(policy, PROMPTS[:3], eos_ids=ENDS, sampling=plain, seed=6)
    for row, (sample,) in enumerate(made):
        assert out.logp_sampled_BT[row][out.mask_BT[row].bool()].tolist() == sample.logp
    assert out.value_sampled_BT is None and out.sampled.value_BT is None
    with_values = rollout(policy, batch, eos_ids=ENDS, sampling=plain, seed=6, head=lambda hidden_BD: hidden_BD[:, 0])
    assert torch.equal(with_values.logp_sampled_BT, out.logp_sampled_BT)
    assert with_values.value_sampled_BT.shape == out.ids_BT.shape
    for changes in ({"top_p": 0.9}, {"temperature": 0.7}, {"repetition_penalty": 1.2}, {"min_p": 0.1}, {"top_k": 5}):
        other = rollout(policy, batch, eos_ids=ENDS, sampling=plain.model_copy(update=changes), seed=6)
        assert other.sampled is None


def test_responses_are_padded_on_the_right_to_the_longest():
    samples = [Sample([7, 8, 1], [0.0] * 3, True), Sample([9], [0.0], False), Sample([4, 4], [0.0] * 2, False)]
    out = with_responses(batch_of(), samples)
    assert out.ids_BT.tolist() == [[7, 8, 1], [9, 0, 0], [4, 4, 0]]
    assert out.mask_BT.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert out.terminated_B.tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_generating_does_not_switch_dropout_on(name):
    """GPT-2 and BART drop out in training mode; a trunk is loaded without it and must stay so."""
    policy, batch = policy_of(build(name), adapter=True), batch_of()
    with torch.no_grad():
        before = policy.score(batch, want={"logp"}).logp_BT
        generate(policy, PROMPTS, eos_ids=ENDS, sampling=SAMPLED)
        assert torch.equal(policy.score(batch, want={"logp"}).logp_BT, before)
