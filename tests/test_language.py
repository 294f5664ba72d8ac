"""Correct language: log-probabilities against a naive sum, how sentences are set, and the built-in model."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from homestretch.errors import InputError
from homestretch.policies.builtin import NAME
from homestretch.rewards import language as module
from homestretch.rewards.language import ReferenceLM, fluency, language_correctness, load_reference_lm, well_set

TEXTS = ["A cat sat.", "b", "A cat sat on a mat, and it sat there long.", "A cat sat."]


def reference(folder: Path, name: str = "llama") -> ReferenceLM:
    made = load_reference_lm(tiny.save(folder, name, std=0.3), "cpu")
    made.precision = nullcontext  # bfloat16 where the processor has it
    return made


def naive(made: ReferenceLM, text: str) -> float:
    """ln p(y_t | start, y_<t), a pass for each token."""
    ids = made.tokenizer(text).input_ids
    total = 0.0
    for t, token in enumerate(ids):
        before = torch.tensor([[made.tokenizer.bos_token_id, *ids[:t]]])
        with torch.no_grad():
            total += float(made.trunk.lm(input_ids=before).logits[0, -1].double().log_softmax(-1)[token])
    return total / len(ids)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_mean_log_probability_of_each_text_whatever_the_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = reference(tmp_path, name)
    expected = [naive(made, text) for text in TEXTS]
    assert made.mean_logp(TEXTS) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(module, "MICRO_BATCH_TOKENS_CPU", 16)
    assert made.mean_logp(TEXTS) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(module, "LONGEST", 3)
    assert made.mean_logp(["A cat"]) == pytest.approx([naive(made, "A c")], abs=1e-4)


def test_a_text_is_read_as_far_as_the_model_has_positions_beside_the_start(tmp_path: Path) -> None:
    made = reference(tmp_path, "gpt2")
    positions = made.trunk.lm.config.n_positions
    text = "ab" * positions
    assert made.mean_logp([text]) == pytest.approx([naive(made, text[: positions - 1])], abs=1e-4)


def test_the_start_is_the_end_marker_where_there_is_no_other(tmp_path: Path) -> None:
    made = reference(tmp_path)
    before = made.mean_logp(["abc"])
    made.tokenizer.bos_token = None
    assert made.mean_logp(["abc"]) != pytest.approx(before, abs=1e-6)


def test_the_parts_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale goes from -7 to -2 nats, the parts weigh 1/2, 1/4 and 1/4."""
    assert [fluency(m) for m in (-9, -7, -4.5, -2, -1)] == [0, 0, 0.5, 1, 1]
    assert well_set("One is. two is. Three is") == pytest.approx(1 / 3)
    assert well_set("One is! Two is? \u201cThree is.\u201d") == 1 and well_set("...") == well_set("") == 0
    made = reference(tmp_path)
    monkeypatch.setattr(made, "mean_logp", lambda texts: [-4.5, -2.0])
    found = language_correctness(["One is. two is.", "so it is so it is so it is"], made)
    assert found == pytest.approx([0.5 / 2 + 1 / 4 + (1 / 2) / 4, 1 / 2 + (1 - 3 / 6) / 4 + 0])


@given(st.floats(-50, 0), st.text(max_size=50))
def test_ranges(logp: float, text: str) -> None:
    assert 0 <= fluency(logp) <= 1 and 0 <= well_set(text) <= 1


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no causal language model, and cannot say how probable a text is"):
        load_reference_lm(tiny.save(tmp_path, "t5"), "cpu")


@pytest.mark.slow
def test_the_built_in_model_knows_english_from_disorder() -> None:
    made = load_reference_lm(NAME, "cpu")
    good = "The boots are comfortable and warm, but they run a little small."
    disorder = "warm but The a small boots and run they comfortable little, are."
    typed = "teh bots r confortable n warn but thay runn a litle smal"
    right, jumbled, careless = language_correctness([good, disorder, typed], made)
    assert right > jumbled + 0.2 and right > careless + 0.2
