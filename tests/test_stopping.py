"""Stop strings: where a row ends, whatever the tokens; what is cut; what it costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import ENDS, NEW, PROMPTS, policy_of
from tiny import VOCAB, build, tokenizer

from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.stopping import StopStrings

PIECES = ["a", "b", "ab", "ba", "aab", " ", "\n", "\n\n", "", "e", "END", "ND", "xEN", "D.", "ö"]
EURO = list("€".encode())  # three tokens of one byte each


def text_of(ids: list[int]) -> str:
    """Pieces by id; ids from 200 on are single bytes, unreadable until their character is whole."""
    data = b"".join(bytes([i]) if i >= 200 or i in EURO else PIECES[i].encode() for i in ids)
    return data.decode("utf-8", "replace")


def first_stop(ids: list[int], strings: list[str]) -> int | None:
    """By definition: the number of tokens after which the whole text has one of the strings."""
    return next((n for n in range(1, len(ids) + 1) if any(s in text_of(ids[:n]) for s in strings)), None)


@settings(max_examples=300)
@given(
    ids=st.lists(st.sampled_from([*range(len(PIECES)), *EURO]), max_size=60),
    strings=st.lists(st.sampled_from(["END", "\n\n", "abab", "b a", "€", "ö€", "aabaab ab", "a", "D.e"]), min_size=1),
)
def test_a_row_ends_with_the_token_that_completes_a_string(ids, strings):
    stop, tail = StopStrings(strings, text_of), []
    found = next((n for n, token in enumerate(ids, 1) if stop.completes(tail, token)), None)
    assert found == first_stop(ids, strings)


@pytest.mark.parametrize("before", range(60))
def test_a_long_string_is_seen_beside_a_short_one_wherever_it_falls(before):
    long = "a long string of thirty letters"
    stop, tail = StopStrings(["!", long], lambda ids: "".join(map(chr, ids))), []
    found = [stop.completes(tail, ord(letter)) for letter in "x" * before + long]
    assert found == [False] * (before + len(long) - 1) + [True]


@pytest.mark.parametrize("pieces", [["x" * 50 + "E", "N", "D"], ["x", "y" * 90 + "EN", "", "D"], ["x" * 60, "END"]])
def test_a_string_that_starts_in_a_long_token_is_seen(pieces):
    stop, tail = StopStrings(["END"], lambda ids: "".join(pieces[i] for i in ids)), []
    assert [stop.completes(tail, i) for i in range(len(pieces))] == [False] * (len(pieces) - 1) + [True]


def test_decoding_costs_as_much_at_the_end_of_a_long_row_as_at_its_start():
    costs: list[int] = []

    def decode(ids: list[int]) -> str:
        costs.append(len(ids))
        return text_of(ids)

    stop, tail = StopStrings(["END"], decode), []
    for n in range(2000):
        assert not stop.completes(tail, (0, 1, 2, 9)[n % 4])
    assert sum(costs[len(costs) // 2 :]) < 1.1 * sum(costs[: len(costs) // 2])
    assert max(costs) < 40


def test_text_is_cut_before_the_first_string():
    stop = StopStrings(["\n\n", "END"], text_of)
    assert stop.cut("one\n\ntwo END") == "one"
    assert stop.cut("oneEND\n\n") == "one"
    assert stop.cut("one\n") == "one\n"
    assert stop.cut("END") == ""


@pytest.mark.parametrize("strings", [[], [""], ["a", ""]])
def test_a_string_without_characters_is_refused(strings):
    with pytest.raises(ValueError, match="must have characters"):
        StopStrings(strings, text_of)


def letters(ids: list[int]) -> str:
    return "".join(chr(97 + i % 7) for i in ids)


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_generation_stops_each_row_where_its_own_text_has_a_string(name):
    policy = policy_of(build(name))
    sampling = SamplingConfig(max_new_tokens=NEW)
    options = {"eos_ids": ENDS, "sampling": sampling, "seed": 3, "num_samples": 4}
    strings = ["ab", "ff", "gce"]
    free = [s for group in generate(policy, PROMPTS, **options) for s in group]
    for max_rows in (4, 64):
        stopped = generate(policy, PROMPTS, stop=StopStrings(strings, letters), max_rows=max_rows, **options)
        for one, two in zip(free, [s for group in stopped for s in group], strict=True):
            n = next((n for n in range(1, len(one.ids) + 1) if any(s in letters(one.ids[:n]) for s in strings)), None)
            assert two.ids == one.ids[:n]
            assert two.logp == pytest.approx(one.logp[:n], abs=1e-4)
            assert two.terminated == (n is not None or one.terminated)
    ended = [s for group in stopped for s in group if s.terminated and s.ids[-1] not in ENDS]
    assert len(ended) > 5, "or the strings show nothing"
    assert len({len(s.ids) for s in ended}) > 3


def test_greedy_with_a_stop_string_ends_where_that_of_transformers_does():
    lm, letters_tokenizer = build("llama"), tokenizer()
    prompt = letters_tokenizer("say it").input_ids
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=NEW)
    free = generate(policy_of(lm), [prompt], eos_ids=[VOCAB - 1], sampling=greedy)[0][0]
    string = letters_tokenizer.decode(free.ids[6:9])
    ids = torch.tensor([prompt])
    made = lm.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW,
        eos_token_id=VOCAB - 1,
        stop_strings=[string],
        tokenizer=letters_tokenizer,
    )
    stop = StopStrings([string], letters_tokenizer.decode)
    [[ours]] = generate(policy_of(lm), [prompt], eos_ids=[VOCAB - 1], sampling=greedy, stop=stop)
    assert ours.ids == made[0, len(prompt) :].tolist()
    assert len(ours.ids) < NEW and ours.terminated
