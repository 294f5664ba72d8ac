"""A reward for new text where only stored rewards are known: ridge regression on the states of a frozen model.

The features of a response are the mean over its tokens of the last layer's states, and the logarithm of its length. It
is fitted to the stored logits of both sides of the training rows; what it is worth is measured on the test rows' stored
texts, which it has not seen: correlation with the stored logits, and how often it orders the two sides as they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from homestretch import Policy, load_tokenizer, load_trunk
from homestretch.data.collate import collate_texts
from homestretch.policies.precision import autocast
from homestretch.progress import progress

MODEL = "builtin/smollm2-135m"
AT_ONCE, BUDGET = 32, 768
"""Texts that are padded to one width, and padded tokens of a pass."""
ALPHAS = np.logspace(1, 6, 16)
SIDES = ("chosen", "rejected")


@dataclass
class Scorer:
    """Predicts the stored logit of a response; `quality` is what it reached on held-out stored text."""

    regression: Pipeline
    quality: dict[str, float]

    def __call__(self, prompts: list[str], texts: list[str]) -> list[float]:
        """Probabilities, 0 to 1."""
        logits = self.regression.predict(features(prompts, texts))
        return torch.from_numpy(np.asarray(logits)).sigmoid().tolist()


@torch.no_grad()
def features(prompts: list[str], texts: list[str]) -> np.ndarray[Any, Any]:
    """(N, D + 1) features of responses, end markers included."""
    tokenizer, trunk = load_tokenizer(MODEL), load_trunk(MODEL)
    policy = Policy(trunk, None, budget=BUDGET, autocast=autocast(trunk.device))
    parts = []
    with progress(len(texts), "features", "text") as bar:
        for at in range(0, len(texts), AT_ONCE):
            some = slice(at, at + AT_ONCE)
            ended = [True] * len(texts[some])
            batch = collate_texts(tokenizer, prompts[some], texts[some], terminated=ended, is_encoder_decoder=False)
            hidden_BSD = policy.score(batch, want={"hidden"}).hidden_BSD
            assert hidden_BSD is not None
            hidden_BTD = hidden_BSD[:, 1:]  # behind each token; the first state is the prompt's
            length_B1 = batch.mask_BT.sum(1, keepdim=True).float()
            mean_BD = (hidden_BTD.float() * batch.mask_BT[..., None]).sum(1) / length_B1
            parts.append(torch.cat([mean_BD, length_B1.log()], 1).numpy())
            bar.advance(len(ended))
    return np.concatenate(parts)


def fit_scorer(train: list[dict[str, Any]], held_out: list[dict[str, Any]], folder: Path) -> Scorer:
    """A scorer of rows with `prompt`, `chosen`, `rejected` and `reward_logits`; `folder` keeps their features."""
    parts = {"train": train, "test": held_out}
    found, wanted = zip(*(_sides(rows, folder / f"{name}.npz") for name, rows in parts.items()), strict=True)
    regression = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(found[0], wanted[0])
    guessed, logits = regression.predict(found[1]).reshape(2, -1), wanted[1].reshape(2, -1)
    differ = logits[0] != logits[1]
    agreed = (guessed[0] > guessed[1]) == (logits[0] > logits[1])
    quality = {
        "texts_fitted": len(wanted[0]),
        "texts_held_out": len(wanted[1]),
        "correlation": float(np.corrcoef(guessed.ravel(), logits.ravel())[0, 1]),
        "pairwise_accuracy": float(agreed[differ].mean()),
    }
    return Scorer(regression, quality)


def _sides(rows: list[dict[str, Any]], file: Path) -> tuple[Any, Any]:
    """Features and logits of the chosen texts of all rows, then of their rejected ones."""
    texts = [row[side] for side in SIDES for row in rows]
    logits = [row["reward_logits"][i] for i in range(len(SIDES)) for row in rows]
    if not file.is_file():
        np.savez(file, features=features([row["prompt"] for row in rows] * len(SIDES), texts))
    return np.load(file)["features"], np.array(logits)
