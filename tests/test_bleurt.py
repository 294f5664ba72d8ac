"""BLEURT: parity with the published PyTorch code on weights from a formula, and refusal of half a checkpoint.

The expected numbers come from `bleurt-pytorch` 0.0.1 with transformers 4.36.2 and torch 2.13.0: its
BleurtForSequenceClassification was built from CONFIG (with `embedding_size` 8 for the RemBERT kind), every weight was
set to `wave(name, shape)` under its name there, and the token rows and, through its own WordPiece tokenizer with VOCAB,
the text pairs were scored in float32.
"""

from __future__ import annotations

import json

import pytest
import sentencepiece
import torch
from safetensors.torch import save_file

from homestretch.errors import CheckpointError, InputError
from homestretch.metrics.bleurt import Bleurt, load_bleurt

CONFIG = {
    "model_type": "bleurt", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "hidden_act": "gelu", "max_position_embeddings": 20, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12, "pad_token_id": 0, "embedding_size": None,
}  # fmt: skip
IDS = [[2, 5, 6, 7, 3, 8, 9, 3], [2, 11, 3, 12, 13, 14, 3, 0], [2, 30, 31, 32, 33, 3, 39, 3]]
SEGMENTS = [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1, 1]]
MASKS = [[1] * 8, [1] * 7 + [0], [1] * 8]
EXPECTED = {None: [0.67994732, 0.64424539, 0.73225224], 8: [0.11590382, 0.14010879, 0.01364466]}
VOCAB = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a bird ##s sings by the window cat sleep ##ing on mat . , red green it is was not "
    "! ? one two three four river run ##ning fast slow under tree old new"
).split()
PAIRS = [
    ("A bird sings by the window.", "a birds singing by the window"),
    ("the cat was sleeping on the mat", "The cat is sleeping, on the mat."),
    ("one river", "river running fast under one tree by the window on the red mat, the green mat"),  # is cut to 20
    ("zebra !", ""),
]
EXPECTED_TEXT = [0.66304559, 0.64316046, 0.57955903, 0.73809373]


def wave(name, shape):
    """Weights that look random and are the same everywhere."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = torch.sin(0.37 * index * index + sum(map(ord, name)) % 100).reshape(shape)
    return (1 + 0.1 * values if name.endswith("LayerNorm.weight") else 0.3 * values).float()


def layout(embedding):
    """Names and shapes of a published checkpoint."""
    d, inner, narrow = (CONFIG["hidden_size"], CONFIG["intermediate_size"], embedding or CONFIG["hidden_size"])
    shapes = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], narrow),
        "embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], narrow),
        "embeddings.token_type_embeddings.weight": (2, narrow),
        "embeddings.LayerNorm.weight": (narrow,),
        "embeddings.LayerNorm.bias": (narrow,),
        "pooler.dense.weight": (d, d),
        "pooler.dense.bias": (d,),
    }
    if embedding:
        shapes |= {"encoder.embedding_projection.weight": (d, narrow), "encoder.embedding_projection.bias": (d,)}
    for i in range(CONFIG["num_hidden_layers"]):
        linear = {f"attention.self.{x}": (d, d) for x in ("query", "key", "value")}
        linear |= {"attention.output.dense": (d, d), "intermediate.dense": (inner, d), "output.dense": (d, inner)}
        for name, shape in linear.items():
            shapes |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.{i}.{name}.weight": (d,), f"encoder.layer.{i}.{name}.bias": (d,)}
    return {f"bleurt.{name}": shape for name, shape in shapes.items()} | {
        "classifier.weight": (1, d),
        "classifier.bias": (1,),
    }


def write(folder, embedding, change=lambda _: None, suffix="safetensors"):
    folder.mkdir(exist_ok=True)
    weights = {name: wave(name, shape) for name, shape in layout(embedding).items()}
    weights["bleurt.embeddings.position_ids"] = torch.arange(20)[None]
    change(weights)
    if suffix == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "embedding_size": embedding}))
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("embedding", [None, 8], ids=["bert", "rembert"])
def test_scores_of_token_rows_equal_the_published_code(tmp_path, embedding, suffix):
    model = load_bleurt(write(tmp_path / "b", embedding, suffix=suffix))
    with torch.no_grad():
        scores = model(*(torch.tensor(rows) for rows in (IDS, MASKS, SEGMENTS)))
    assert scores.tolist() == pytest.approx(EXPECTED[embedding], abs=2e-6)


def test_scores_of_text_equal_the_published_code_alone_and_in_a_batch(tmp_path):
    bleurt = Bleurt(write(tmp_path / "b", None))
    assert bleurt.score_pairs(PAIRS) == pytest.approx(EXPECTED_TEXT, abs=2e-6)
    assert [bleurt.score_pairs([pair])[0] for pair in PAIRS] == pytest.approx(EXPECTED_TEXT, abs=2e-6)
    assert bleurt.score_pairs([]) == []


def test_the_longer_text_loses_tokens_first(tmp_path):
    bleurt = Bleurt(write(tmp_path / "b", None))  # reads 20 tokens, 3 of them marks
    short = "a bird sings by the window"
    cut = bleurt.score_pairs([("one river fast under one tree by the window on the red mat", short)])
    assert cut == bleurt.score_pairs([("one river fast under one tree by the window on the", short)])
    assert cut != bleurt.score_pairs([("one river fast under one tree by the window on", short)])


def test_best_reference_counts(tmp_path):
    bleurt = Bleurt(write(tmp_path / "b", None))
    text = "a bird sings"
    single = bleurt([text, text, "a cat"], [["the cat"], ["one river"], ["the cat"]])
    assert single[0] != single[1]
    both = bleurt([text, "a cat"], [["the cat", "one river"], ["the cat"]])
    assert both == pytest.approx([max(single[:2]), single[2]], abs=1e-6)


def test_sentencepiece_checkpoint(tmp_path):
    folder = write(tmp_path / "b", 8)
    (tmp_path / "text").write_text("\n".join(a + "\n" + b for a, b in PAIRS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(folder / "spm"), vocab_size=40, hard_vocab_limit=False,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    ref, text = "the cat", "a bird"
    ids = [2, *pieces.encode(ref), 3, *pieces.encode(text), 3]
    segments = [0] * (len(pieces.encode(ref)) + 2) + [1] * (len(pieces.encode(text)) + 1)
    with torch.no_grad():
        expected = load_bleurt(folder)(torch.tensor([ids]), torch.ones(1, len(ids)), torch.tensor([segments]))
    assert Bleurt(folder).score_pairs([(ref, text)]) == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("classifier.weight"), "no `classifier.weight`"),
        (lambda w: w.pop("bleurt.encoder.layer.1.output.dense.bias"), "no `encoder.encoder.layer.1.output.dense.bias`"),
        (lambda w: w.update({"bleurt.encoder.layer.2.output.dense.bias": torch.ones(16)}), "has no place"),
        (lambda w: w.update({"classifier.weight": torch.ones(1, 8)}), r"is \(1, 8\), not \(1, 16\)"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_bleurt(write(tmp_path / "b", None, change))


def test_what_is_no_checkpoint_gets_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"config.json: there is no such JSON file"):
        Bleurt(tmp_path)
    folder = write(tmp_path / "b", None)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot be read"):
        load_bleurt(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither model.safetensors nor pytorch_model.bin"):
        load_bleurt(folder)
    folder = write(tmp_path / "c", None)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_labels": 3}))
    with pytest.raises(InputError, match="one output"):
        load_bleurt(folder)
    folder = write(tmp_path / "d", None)
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        Bleurt(folder)
