"""BLEURT with published checkpoints in Hugging Face format  (Sellam et al., 2020; Pu et al., 2021)

    score(ref, y) = w . tanh(W h_1 + b) + c,      h_1: the encoder's state at [CLS] of  [CLS] ref [SEP] y [SEP]

Two kinds of checkpoint exist: BERT (WordPiece, `vocab.txt`; bleurt-base, -large, -tiny) and RemBERT (SentencePiece,
`spm.model`, embeddings narrower than the hidden size; BLEURT-20 and its distilled forms). Both are read here into
transformers' own encoders, and every weight must find its place: a checkpoint is never completed with random numbers,
and no checkpoint stands in for another. There is no default; the one to use is BLEURT-20 or a distilled form of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer, RemBertConfig, RemBertModel

from homestretch.errors import CheckpointError, InputError, MissingDependency

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SENTENCEPIECE_FILES = ("spm.model", "sent_piece.model")
MAX_LENGTH = 512
BATCH_TOKENS = 1024
_PREFIXES = ("bleurt.", "bert.", "rembert.")
_BUFFERS = ("position_ids", "token_type_ids")
_SHARED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id",
)  # fmt: skip


class BleurtModel(nn.Module):
    """Encoder, tanh pooler and one output. `config`: the checkpoint's config.json as a dictionary."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        shared = {key: config[key] for key in _SHARED if key in config}
        narrow = config.get("embedding_size") or config.get("input_embedding_size")
        self.encoder: BertModel | RemBertModel
        if narrow:
            self.encoder = RemBertModel(
                RemBertConfig(input_embedding_size=narrow, bos_token_id=None, eos_token_id=None, **shared)
            )
        else:
            self.encoder = BertModel(BertConfig(**shared))
        self.classifier = nn.Linear(self.encoder.config.hidden_size, 1)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, segment_BT: Tensor) -> Tensor:
        """Scores (B,). `segment_BT` is 0 for [CLS] ref [SEP] and 1 for y [SEP]; padding is where the mask is 0."""
        out = self.encoder(input_ids=ids_BT, attention_mask=mask_BT, token_type_ids=segment_BT)
        scores_B1: Tensor = self.classifier(out.pooler_output)
        return scores_B1.squeeze(-1)


def load_bleurt(folder: Path) -> BleurtModel:
    """The model in `folder`, in evaluation mode.

    Raises InputError where no checkpoint is there, CheckpointError where weights are missing, left over or of another
    shape than config.json says.
    """
    config = _json(folder / "config.json")
    if config.get("num_labels", 1) != 1 or len(config.get("id2label", {0: ""})) != 1:
        raise InputError(
            f"{folder}: a BLEURT checkpoint has one output and this one has more; name a BLEURT checkpoint."
        )
    model = BleurtModel(config)
    weights = {_our_name(name): w.float() for name, w in _weights(folder).items() if not name.endswith(_BUFFERS)}
    wanted = model.state_dict()
    wrong = sorted(
        [f"no `{n}`" for n in wanted.keys() - weights.keys()]
        + [f"`{n}` has no place" for n in weights.keys() - wanted.keys()]
        + [f"`{n}` is {tuple(weights[n].shape)}, not {tuple(w.shape)}" for n, w in wanted.items()
           if n in weights and weights[n].shape != w.shape]
    )  # fmt: skip
    if wrong:
        raise CheckpointError(f"{folder}: this is not a whole BLEURT checkpoint ({wrong[0]}); download it again.")
    model.load_state_dict(weights)
    return model.eval()


class Bleurt:
    """Scores of outputs against references: the higher the better, about 0 to 1 for BLEURT-20.

    `checkpoint`: a folder or a Hub name. Called with outputs and their references, it returns for each output the
    score of its best reference.
    """

    def __init__(self, checkpoint: str | Path, *, device: str = "cpu") -> None:
        folder = _folder(checkpoint)
        self.model = load_bleurt(folder).to(device)
        self.device = device
        self.pieces, self.cls, self.sep = _tokenizer(folder)
        self.max_length = min(MAX_LENGTH, self.model.encoder.config.max_position_embeddings)

    def __call__(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        pairs = [(ref, text) for text, refs in zip(texts, references, strict=True) for ref in refs]
        scores = iter(self.score_pairs(pairs))
        return [max(next(scores) for _ in refs) for refs in references]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The score of each (reference, output)."""
        parts = [self._parts(*pair) for pair in pairs]
        order = sorted(range(len(parts)), key=lambda i: sum(map(len, parts[i])))
        scores = [0.0] * len(parts)
        while order:
            size = max(1, BATCH_TOKENS // sum(map(len, parts[order[-1]])))
            batch, order = order[-size:], order[:-size]
            for i, score in zip(batch, self._forward([parts[i] for i in batch]), strict=True):
                scores[i] = score
        return scores

    def _parts(self, reference: str, text: str) -> tuple[list[int], list[int]]:
        """Ids of `[CLS] ref [SEP]` and of `y [SEP]`; the longer text loses tokens first where both do not fit."""
        ref, own = self.pieces(reference), self.pieces(text)
        while len(ref) + len(own) + 3 > self.max_length:
            (ref if len(ref) > len(own) else own).pop()
        return [self.cls, *ref, self.sep], [*own, self.sep]

    @torch.inference_mode()
    def _forward(self, parts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        width = max(len(a) + len(b) for a, b in parts)
        pad = [width - len(a) - len(b) for a, b in parts]
        ids = [[*a, *b, *[0] * p] for (a, b), p in zip(parts, pad, strict=True)]
        mask = [[1] * (width - p) + [0] * p for p in pad]
        segment = [[0] * len(a) + [1] * len(b) + [0] * p for (a, b), p in zip(parts, pad, strict=True)]
        scores_B = self.model(*(torch.tensor(rows, device=self.device) for rows in (ids, mask, segment)))
        return [float(score) for score in scores_B]


def _our_name(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = "encoder." + name.removeprefix(prefix)
    return name.replace("encoder.encoder.embedding_projection.", "encoder.encoder.embedding_hidden_mapping_in.")


def _folder(checkpoint: str | Path) -> Path:
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(checkpoint)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise InputError(
            f"{checkpoint}: no such folder, and the Hub does not give it; name the folder of a BLEURT checkpoint."
        ) from None


def _weights(folder: Path) -> dict[str, Tensor]:
    for name in WEIGHT_FILES:
        if (path := folder / name).is_file():
            try:
                return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
            except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError) as error:
                reason = " ".join(str(error).split())[:120]
                raise CheckpointError(f"{path}: cannot be read ({reason}); download it again.") from None
    raise InputError(
        f"{folder}: there is neither {' nor '.join(WEIGHT_FILES)}; name the folder of a BLEURT checkpoint."
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path}: there is no such JSON file; name the folder of a BLEURT checkpoint.") from None
    return values


def _tokenizer(folder: Path) -> tuple[Callable[[str], list[int]], int, int]:
    """Text to ids without marks, and the ids of [CLS] and [SEP]."""
    for name in SENTENCEPIECE_FILES:
        if (folder / name).is_file():
            return _sentencepiece(folder, name)
    if not (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: there is no tokenizer (vocab.txt or spm.model); download the checkpoint again.")
    words = BertTokenizer.from_pretrained(folder)
    return (lambda text: words(text, add_special_tokens=False)["input_ids"], words.cls_token_id, words.sep_token_id)


def _sentencepiece(folder: Path, name: str) -> tuple[Callable[[str], list[int]], int, int]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise MissingDependency(
            "This BLEURT checkpoint needs SentencePiece; type `pip install sentencepiece`."
        ) from None
    pieces = SentencePieceProcessor(model_file=str(folder / name))
    settings = folder / "tokenizer_config.json"
    lower = settings.is_file() and _json(settings).get("do_lower_case", False)

    def ids(text: str) -> list[int]:
        return list(pieces.encode(text.lower() if lower else text))

    return ids, pieces.piece_to_id("[CLS]"), pieces.piece_to_id("[SEP]")
