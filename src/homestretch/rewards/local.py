"""The extractors that need no judge: features of a text beside its document by words and small models, 0 to 1, 1 best.

    aspect_coverage       share of what the document says most often that the text has
    relevance             similarity of text and document in subject                        model: another encoder
    opinion_faithfulness  similarity of each sentence with the nearest of the document that does not disagree
                          model: a classifier of entailment, and then the probability that the document entails it
    opinion_coverage      the same the other way round, for what the document praises or complains of
                          model: another encoder
    hallucination         1 for none: support of names and numbers, and of content words, by the document
                          model: a classifier of entailment; the least entailed sentence in the place of the words
    conciseness           shortness beside the document, and nothing said twice
    language_correctness  probability under a language model, repetition, how sentences start and end
                          model: another language model

Equations are in `word_features`, `sentence_features` and `language`. A text without a word has 0 in all of them, so
that silence is not rewarded; a document without one has no feature but `language_correctness`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any
from weakref import WeakValueDictionary

import torch

from homestretch import ranks
from homestretch.config.extractors import Feature, LocalConfig
from homestretch.metrics.learned import Encoder, minilm_folder
from homestretch.metrics.sentences import words
from homestretch.policies.builtin import NAME
from homestretch.policies.load import resolve
from homestretch.rewards.cache import content_key, model_key, scored_once
from homestretch.rewards.entailment import load_entailment
from homestretch.rewards.language import language_correctness, load_reference_lm
from homestretch.rewards.sentence_features import (
    Vectors,
    entailed,
    opinion_coverage,
    opinion_faithfulness,
    relevance,
)
from homestretch.rewards.word_features import aspect_coverage, conciseness, specifics_support, word_support

DEFINITION = 1
"""Counts changes of the equations and of the lists of words: what a cache holds is of the definition that it was
computed by."""

NO_DOCUMENT: tuple[Feature, ...] = ("language_correctness",)
BY_ENCODER: tuple[Feature, ...] = ("relevance", "opinion_faithfulness", "opinion_coverage")

Extractor = Callable[[Sequence[str], Sequence[str]], Sequence[float | None]]
"""Documents and texts to a number for each text."""


class LocalReward:
    """A feature of texts beside their `document`, 0 to 1, better being more. It follows the `Reward` protocol.

    Deterministic. Each number is kept in the user's cache, by the content of models, document and text. Models are
    loaded when the first text is asked about that is not known, and shared by the features that read them.
    """

    def __init__(self, config: LocalConfig, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, str(device)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], document: Sequence[str], **_: Any
    ) -> list[float | None]:
        """The feature of each completion; None where it does not apply to the document."""

        def ask(indices: list[int]) -> list[float | None]:
            return self._computed([document[i] for i in indices], [completions[i] for i in indices])

        read = [""] * len(completions) if self.config.feature in NO_DOCUMENT else document
        digests = {source: content_key(source) for source in set(read)}
        keys = [content_key(digests[source], text) for source, text in zip(read, completions, strict=True)]
        with ranks.alone():  # each process asks about rows of its own, if any
            return scored_once(self._scorer, keys, ask)

    def _computed(self, documents: Sequence[str], texts: Sequence[str]) -> list[float | None]:
        found: list[float | None] = [0.0 if self._applies(document) else None for document in documents]
        some = [i for i, text in enumerate(texts) if found[i] is not None and words(text)]
        if some:
            values = self._extractor([documents[i] for i in some], [texts[i] for i in some])
            for i, value in zip(some, values, strict=True):
                found[i] = value
        return found

    def _applies(self, document: str) -> bool:
        return self.config.feature in NO_DOCUMENT or bool(words(document))

    @cached_property
    def _scorer(self) -> str:
        models = [model_key(place) for place in needed_models(self.config)]
        return content_key("local", self.config.feature, DEFINITION, models, torch.device(self.device).type)

    @cached_property
    def _extractor(self) -> Extractor:
        return extractor(self.config, self.device)


def needed_models(config: LocalConfig) -> list[str]:
    """Folders or Hub names of the models that a feature reads. Raises MissingDependency where a packaged one is absent,
    InputError for a built-in name that does not exist."""
    if config.feature == "language_correctness":
        return [resolve(config.model or NAME)]
    nli = [] if config.model is None else [resolve(config.model)]
    if config.feature == "hallucination":
        return [str(minilm_folder()), *nli] if nli else []
    if config.feature == "opinion_faithfulness":
        return [str(minilm_folder()), *nli]
    return (nli or [str(minilm_folder())]) if config.feature in BY_ENCODER else []


def extractor(config: LocalConfig, device: str) -> Extractor:
    """The function behind a feature, its models loaded. Raises InputError."""
    model = config.model
    if config.feature == "language_correctness":
        lm = load_reference_lm(model or NAME, device)
        return lambda _, texts: language_correctness(texts, lm)
    if config.feature == "hallucination":
        return _supported(config, device)
    if config.feature == "opinion_faithfulness":
        vectors = shared_vectors(None, device)
        if model is None:
            return lambda documents, texts: opinion_faithfulness(documents, texts, vectors)
        nli = load_entailment(model, device)
        return lambda documents, texts: [fmean(given) for given in entailed(documents, texts, vectors, nli)]
    if config.feature in BY_ENCODER:
        vectors = shared_vectors(model, device)
        function = relevance if config.feature == "relevance" else opinion_coverage
        return lambda documents, texts: function(documents, texts, vectors)
    words_alone = aspect_coverage if config.feature == "aspect_coverage" else conciseness
    return lambda documents, texts: [words_alone(d, t) for d, t in zip(documents, texts, strict=True)]


def _supported(config: LocalConfig, device: str) -> Extractor:
    if config.model is None:
        return lambda documents, texts: [
            (specifics_support(d, t) + word_support(d, t)) / 2 for d, t in zip(documents, texts, strict=True)
        ]
    vectors, nli = shared_vectors(None, device), load_entailment(config.model, device)
    return lambda documents, texts: [
        (specifics_support(d, t) + min(given)) / 2
        for d, t, given in zip(documents, texts, entailed(documents, texts, vectors, nli), strict=True)
    ]


_VECTORS: WeakValueDictionary[tuple[str, str], Vectors] = WeakValueDictionary()


def shared_vectors(name: str | None, device: str) -> Vectors:
    """Sentence embeddings of an encoder, one for all features that live. Raises InputError."""
    key = (resolve(name) if name else str(minilm_folder()), device)
    vectors = _VECTORS.get(key)
    if vectors is None:
        vectors = _VECTORS[key] = Vectors(Encoder(key[0], device=device))
    return vectors
