"""Sequence classifiers as rewards: log-odds, labels, what is read, lengths, and models that are none."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import tiny_tokenizers
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from homestretch.config.recipe import load_recipe
from homestretch.data.sources import Splits
from homestretch.errors import InputError, RecipeError
from homestretch.results import RunFolder
from homestretch.rewards import sequence_classifier as module
from homestretch.rewards.sequence_classifier import load_sequence_classifier, log_odds
from homestretch.training.context import Context
from homestretch.verbs.generate import generate

CLASSES = {0: "rude", 1: "neutral", 2: "polite"}
TEXTS = ["abc", "a longer text, of which there is more", "b", "abc"]


def save(
    folder: Path, *, labels: int = 3, kind: str = "bert", tokenizer: PreTrainedTokenizerFast | None = None,
    **options: object,
) -> str:  # fmt: skip
    torch.manual_seed(0)
    shared = {
        "vocab_size": 4 + len(tiny.LETTERS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 48, "pad_token_id": 0, **options,
    }  # fmt: skip
    shared |= {"id2label": {i: CLASSES.get(i, str(i)) for i in range(labels)}, "num_labels": labels}
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(**shared))
    elif kind == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig(**shared | {"pad_token_id": 3}))
    else:
        model = LlamaForSequenceClassification(LlamaConfig(**shared))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    (tokenizer or tiny.tokenizer()).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_log_odds_of_a_class_whatever_the_micro_batches(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_sequence_classifier(save(tmp_path, kind=kind), label="polite")
    made.precision = nullcontext  # bfloat16 where the processor has it
    logits = []
    for text in TEXTS:
        with torch.no_grad():
            logits.append(made.model(**made.tokenizer(text, return_tensors="pt")).logits[0])
    expected = [float((z.softmax(0)[2] / (1 - z.softmax(0)[2])).log()) for z in logits]
    got = made(["p"] * 4, TEXTS)
    assert got == pytest.approx(expected, abs=1e-4) and len({round(x, 3) for x in got}) == 3
    monkeypatch.setattr(module, "MICRO_BATCH_TOKENS_CPU", 5)
    assert made(["p"] * 4, TEXTS) == pytest.approx(expected, abs=1e-4)


def test_one_output_and_labels_that_do_not_exclude_each_other_are_logits() -> None:
    logits_BC = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    several = SimpleNamespace(problem_type="multi_label_classification")
    exclusive = SimpleNamespace(problem_type=None)
    assert log_odds(several, logits_BC, 1).tolist() == [-2.0, 3.0]
    assert log_odds(exclusive, logits_BC, 1).tolist() == [-3.0, 2.5]
    assert log_odds(exclusive, logits_BC[:, :1], 0).tolist() == [1.0, 0.5]


def test_what_is_read(tmp_path: Path) -> None:
    folder = save(tmp_path, labels=1)
    alone, whole, pair = (load_sequence_classifier(folder, reads=r) for r in ("completion", "text", "pair"))
    assert alone(["x"], ["abc"]) == alone(["y"], ["abc"])
    assert whole(["x"], ["abc"]) == pytest.approx(alone([""], ["xabc"]))
    assert whole([[{"role": "user", "content": "x"}]], ["abc"]) == pytest.approx(whole(["x"], ["abc"]))
    first, second = pair(["x", "y"], ["abc", "abc"])
    assert first != pytest.approx(second, abs=1e-3)


def test_too_long_a_prompt_loses_its_start_and_too_long_a_completion_is_refused(tmp_path: Path) -> None:
    whole = load_sequence_classifier(save(tmp_path, labels=1), reads="text")
    assert whole(["start " * 20 + "x" * 40], ["abc"]) == pytest.approx(whole(["tart " + "x" * 40], ["abc"]))
    with pytest.raises(InputError, match=r"reads at most 48 tokens of a completion, and one has 60: lower dataset\."):
        whole(["x"], ["y" * 60])


def test_labels_are_named_where_there_are_several(tmp_path: Path) -> None:
    folder = save(tmp_path)
    assert [load_sequence_classifier(folder, label=label).label for label in (1, "neutral")] == [1, 1]
    with pytest.raises(RecipeError, match=r"has 3 classes: say which .* `rude`, `neutral`, `polite`\.$"):
        load_sequence_classifier(folder)
    with pytest.raises(RecipeError, match=r"has no class `polit`; did you mean `polite`"):
        load_sequence_classifier(folder, label="polit")
    with pytest.raises(RecipeError, match=r"has no class `3`"):
        load_sequence_classifier(folder, label=3)


def test_a_language_model_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no classifier: it has no weights for score\.weight"):
        load_sequence_classifier(tiny.save(tmp_path), label=0)
    with pytest.raises(InputError, match=r"nowhere"):
        load_sequence_classifier(str(tmp_path / "nowhere"), label=0)


@torch.no_grad()
def test_of_a_pair_the_prompt_stands_first(tmp_path: Path) -> None:
    folder = save(tmp_path, labels=1)
    pair = load_sequence_classifier(folder, reads="pair")
    pair.precision = nullcontext  # bfloat16 where the processor has it
    read = pair.tokenizer("xyz", "abc", return_tensors="pt")
    assert pair(["xyz"], ["abc"]) == pytest.approx([pair.model(**read).logits.item()])
    assert pair(["abc"], ["xyz"]) != pytest.approx(pair(["xyz"], ["abc"]), abs=1e-4)


def test_a_classifier_needs_no_end_marker_and_a_language_model_does(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizers.tokenizer(eos=False)
    made = load_sequence_classifier(save(tmp_path / "b", labels=1, tokenizer=tokenizer))
    assert len(made(["p", "q"], ["abc", "b"])) == 2
    model = Path(tiny.save(tmp_path / "lm"))
    tokenizer.save_pretrained(model)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "ab"}\n')
    with pytest.raises(InputError, match=r"has no end-of-sequence token; set `eos_token` in its tokenizer_config"):
        generate(str(model), tmp_path / "rows.jsonl", device="cpu")
    recipe = load_recipe({"model_name_or_path": str(model), "stages": ["sft"]})
    context = Context(recipe, RunFolder(tmp_path / "run"), Splits([], [], [], ""), str(model), torch.device("cpu"))
    with pytest.raises(InputError, match=r"has no end-of-sequence token; set `eos_token` in its tokenizer_config"):
        context.length_check()


def test_a_chat_template_writes_the_special_tokens_and_nothing_else_does(tmp_path: Path) -> None:
    template = "{{ bos_token }}" + tiny_tokenizers.CHAT
    tokenizer = tiny_tokenizers.tokenizer(template=template, adds="<s> $A </s>")
    made = load_sequence_classifier(save(tmp_path, labels=1, tokenizer=tokenizer, vocab_size=99), reads="text")
    marks = {name: made.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("user", "assistant", "end")}
    hi, yo = (made.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("hi", "yo"))
    line = made.tokenizer("\n", add_special_tokens=False)["input_ids"]
    turns = [[marks[who], *said, marks["end"], *line] for who, said in (("user", hi), ("assistant", yo))]
    assert made._ids([{"role": "user", "content": "hi"}], "yo")["input_ids"] == [1, *turns[0], *turns[1]]
    assert made._ids("hi", "yo")["input_ids"] == [1, *hi, *yo, 2]


def test_positions_behind_a_padding_id_are_none_and_a_pair_has_specials_of_its_own(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizers.tokenizer(adds="<s> $A </s>", pair="<s> $A </s> </s> $B </s>")
    folder = save(tmp_path, labels=1, kind="roberta", tokenizer=tokenizer, vocab_size=99, max_position_embeddings=36)
    whole, pair = (load_sequence_classifier(folder, reads=reads) for reads in ("text", "pair"))
    assert len(whole._ids("x" * 99, "abc")["input_ids"]) == 36 - 4  # the padding id is 3: positions start at 4
    assert len(whole(["x" * 99], ["abc"])) == len(pair(["x" * 99], ["a" * 27])) == 1
    assert len(pair._ids("x" * 99, "a" * 27)["input_ids"]) == 27 + 4 + 1  # one token of the prompt
    with pytest.raises(InputError, match=r"reads at most 27 tokens of a completion, and one has 28: lower"):
        pair(["x"], ["a" * 28])
    with pytest.raises(InputError, match=r"reads at most 30 tokens of a completion, and one has 31: lower"):
        whole(["x"], ["a" * 31])
