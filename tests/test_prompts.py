"""data/prompts.py: prompt ids never depend on the completion, and a completion ends as the model is to end."""

# ruff: noqa: E501 - a sentence or a template is read whole

from __future__ import annotations

import pytest
from tiny_tokenizers import CHAT, NO_END, NO_SYSTEM, SHOUTS, SPECIALS, tokenizer
from transformers import T5Tokenizer

from homestretch.data.prompts import completion_ids, end_marker, prompt_ids
from homestretch.errors import DataError, InputError

USER, ANSWER = {"role": "user", "content": "hi"}, [{"role": "assistant", "content": "yo"}]
BOS, EOS, PAD = (SPECIALS.index(t) for t in ("<s>", "</s>", "<pad>"))
END = SPECIALS.index("<|end|>")


def test_text_is_tokenised_as_it_is_and_the_space_belongs_to_the_completion():
    t = tokenizer()
    ids = completion_ids(" yes", "Q?\nA:", t)
    assert t.decode(prompt_ids("Q?\nA:", t)) == "Q?\nA:"
    assert t.decode(ids[:-1]) == " yes" and ids[-1] == EOS
    assert ids.count(EOS) == 1


def test_an_unterminated_completion_has_no_end_marker():
    assert completion_ids("yes", "Q", tokenizer(), terminated=False) == completion_ids("yes", "Q", tokenizer())[:-1]


def test_the_tokenizers_own_special_tokens():
    t = tokenizer(adds="<s> $A </s>")
    assert prompt_ids("Q", t) == [BOS, t.convert_tokens_to_ids("Q")]  # no end marker before the answer
    assert prompt_ids("Q", t, is_encoder_decoder=True) == [BOS, t.convert_tokens_to_ids("Q"), EOS]
    assert completion_ids("a", "Q", t) == [t.convert_tokens_to_ids("a"), EOS]
    assert completion_ids("a", "Q", t, is_encoder_decoder=True) == [BOS, t.convert_tokens_to_ids("a"), EOS]
    assert completion_ids("a", "Q", t, is_encoder_decoder=True, terminated=False) == [BOS, t.convert_tokens_to_ids("a")]


def test_chat_ends_with_the_mark_of_the_template():
    t = tokenizer(template=CHAT, adds="<s> $A")
    assert t.decode(prompt_ids([USER], t)) == "<|user|>hi<|end|>\n<|assistant|>"  # the template writes its own marks
    ids = completion_ids(ANSWER, [USER], t)
    assert t.decode(ids) == "yo<|end|>" and ids[-1] == END
    assert completion_ids("yo", [USER], t) == ids
    assert completion_ids("yo", [USER], t, terminated=False) == ids[:-1]


def test_chat_prompt_does_not_change_with_the_answer():
    t = tokenizer(template=CHAT)
    both = t(t.apply_chat_template([USER, *ANSWER], tokenize=False), add_special_tokens=False)["input_ids"]
    ids = prompt_ids([USER], t) + completion_ids(ANSWER, [USER], t)
    assert both[: len(ids)] == ids


def test_an_answer_that_repeats_the_question_is_found_where_it_stands():
    t = tokenizer(template=CHAT)
    assert t.decode(completion_ids("hi", [USER], t)) == "hi<|end|>"


@pytest.mark.parametrize("answer", ["d", "end", "", " ", "e d"])
def test_an_answer_that_stands_in_the_end_mark_too_is_found_where_it_stands(answer):
    t = tokenizer(template=CHAT)
    assert t.decode(completion_ids(answer, [USER], t)) == f"{answer.strip()}<|end|>"
    spaced = tokenizer(template=CHAT.replace("|>{{", "|> {{"))
    assert spaced.decode(completion_ids(answer, [USER], spaced)).replace(" ", "") == f"{answer.replace(' ', '')}<|end|>"


def test_an_answer_behind_what_the_template_adds_is_found():
    t = tokenizer(template=CHAT.replace("{{ m['content']", "{{ 'so: ' if m['role'] == 'assistant' }}{{ m['content']"))
    assert t.decode(completion_ids("yo", [USER], t)) == "so: yo<|end|>"


@pytest.mark.parametrize("answer", ["d", "end", "", "s", "so"])
def test_a_short_answer_behind_what_the_template_adds_is_found(answer):
    t = tokenizer(template=CHAT.replace("{{ m['content']", "{{ 'so: ' if m['role'] == 'assistant' }}{{ m['content']"))
    assert t.decode(completion_ids(answer, [USER], t)) == f"so: {answer}<|end|>"


def test_the_end_mark_may_be_the_first_token_of_the_vocabulary():
    t = tokenizer(template=CHAT.replace("<|end|>", SPECIALS[0]))
    assert completion_ids("yo", [USER], t)[-1] == 0


def test_a_template_without_end_mark_takes_the_tokenizers():
    t = tokenizer(template=NO_END)
    assert t.decode(completion_ids(ANSWER, [USER], t)) == "yo</s>"


def test_real_sentencepiece_behaviour_of_t5():
    t = T5Tokenizer(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), ("a", -2.0), ("b", -2.0)], extra_ids=0
    )
    assert prompt_ids("a b", t, is_encoder_decoder=True)[-1] == t.eos_token_id
    ids = completion_ids("b", "a", t, is_encoder_decoder=True)
    assert ids[-1] == t.eos_token_id and ids.count(t.eos_token_id) == 1


BAD = [
    (lambda: prompt_ids([USER], tokenizer(), where="d.jsonl:2"), InputError,
     "d.jsonl:2: the row has chat messages, but tiny has no chat template; use a model that has one, or give `prompt` and `completion` as text."),
    (lambda: end_marker(tokenizer(eos=False)), InputError,
     "The tokenizer of tiny has no end-of-sequence token; set `eos_token` in its tokenizer_config.json."),
    (lambda: completion_ids("a", "Q", tokenizer(eos=False)), InputError,
     "The tokenizer of tiny has no end-of-sequence token; set `eos_token` in its tokenizer_config.json."),
    (lambda: completion_ids(ANSWER, [USER], tokenizer(template=SHOUTS), where="d.jsonl:2"), InputError,
     "d.jsonl:2: the chat template of tiny changes the answer or what stands before it; use a template that only adds to them, or give `prompt` and `completion` as text."),
    (lambda: prompt_ids([{"role": "system", "content": "s"}, USER], tokenizer(template=NO_SYSTEM), where="d.jsonl:2"), DataError,
     "d.jsonl:2: the chat template refuses the messages (no system role); correct their roles or order."),
    (lambda: prompt_ids("", tokenizer(), where="d.jsonl:2"), DataError,
     "d.jsonl:2: the prompt has no token of this model's vocabulary; correct it, or drop the row."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "sentence"), BAD)
def test_bad_input(call, kind, sentence):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == sentence
