"""Settings of negatives: the sheet's values, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from homestretch.config.negatives import MinedConfig, NegativesConfig
from homestretch.errors import RecipeError
from homestretch.negatives import Thresholds


def test_one_class_is_always_held_out():
    config = NegativesConfig()
    assert config.held_out in config.classes
    assert config.held_out not in config.trained
    assert {"random", "irrelevant", "shuffled", "repetitive", "copy"} <= set(config.trained)
    assert NegativesConfig(held_out=None).trained == config.classes


def test_thresholds_have_one_home():
    assert dataclasses.asdict(Thresholds()) == {k: getattr(MinedConfig(), k) for k in dataclasses.asdict(Thresholds())}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"classes": ["copy", "copy"]}, "names one class twice"),
        ({"classes": ["copy"], "held_out": "copy"}, "is the only class"),
        ({"classes": ["copy"], "held_out": "spliced"}, "not among classes"),
        ({"classes": ["copies"]}, "classes.0"),
        ({"weights": {"copy": -1.0}}, "must not be negative"),
        ({"classes": ["copy", "spliced"], "weights": {"copy": 0.0, "spliced": 1.0}}, "must have a positive one"),
        ({"mined": {"low": 0.9}}, "above mined.good"),
        ({"clases": []}, "did you mean `classes`"),
    ],
)
def test_refused(values, sentence):
    with pytest.raises(RecipeError, match=sentence):
        NegativesConfig.parse(values, where="recipe.yaml: negatives")
