"""Settings of extractors: short forms, the environment, keys that must not stand in a file, and contradictions."""

from __future__ import annotations

import pytest

from homestretch.config.extractors import JudgeConfig, LocalConfig
from homestretch.config.features import FeaturesConfig
from homestretch.config.recipe import dump, load_recipe
from homestretch.config.yaml import load_text
from homestretch.errors import RecipeError


def parse(settings: dict) -> JudgeConfig:
    return JudgeConfig.parse(settings, where="here")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOMESTRETCH_JUDGE_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_name_stands_for_a_feature_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMESTRETCH_JUDGE_MODEL", "some/judge")
    made = FeaturesConfig.parse(
        {"features": {"a": {"local": "relevance"}, "b": {"judge": "relevance"}, "c": {"judge": {"prompt": "Kind?"}}}},
        where="here",
    )
    assert made.features["a"].local == LocalConfig(feature="relevance")
    judge = made.features["b"].judge
    assert judge is not None and (judge.feature, judge.model) == ("relevance", "some/judge")
    assert judge.base_url == "https://api.openai.com/v1" and made.features["c"].judge.prompt == "Kind?"


def test_a_recipe_keeps_what_the_environment_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMESTRETCH_JUDGE_MODEL", "some/judge")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    rewards = {"on_topic": {"judge": "relevance", "weight": 0.5}, "near": {"local": "relevance"}}
    made = load_recipe({"stages": ["sft", {"evaluate": {"rewards": rewards}}]})
    text = dump(made)
    assert "some/judge" in text and "127.0.0.1:9" in text and "secret" not in text
    monkeypatch.setenv("HOMESTRETCH_JUDGE_MODEL", "another")
    assert load_recipe(load_text(text, name="r").values) == made


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "m"}, "a judge needs a `feature` or a `prompt`, and not both"),
        ({"model": "m", "feature": "relevance", "prompt": "x"}, "a `feature` or a `prompt`, and not both"),
        ({"feature": "relevance"}, "a judge needs a `model`; name it, or set HOMESTRETCH_JUDGE_MODEL"),
        ({"model": "m", "feature": "relevant"}, "feature"),
        ({"model": "m", "feature": "relevance", "temperature": 0}, "samples at temperature 0 are all the same"),
        ({"model": "m", "feature": "relevance", "max_cost": 2}, "`max_cost` needs `input_price` and `output_price`"),
        ({"model": "m", "feature": "relevance", "tries": 2}, "unknown key `tries`"),
        ({"model": "m", "feature": "relevance", "base_url": "localhost:80/v1"}, "must look like https://host/v1"),
        ({"model": "m", "feature": "relevance", "base_url": "http://h:port/v1"}, "must look like https://host/v1"),
        ({"model": "m", "feature": "relevance", "requests_per_minute": 0}, "requests_per_minute"),
    ],
)
def test_settings_of_a_judge_that_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        parse(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key_env": "sk-very-secret"},
        {"api_key_env": "verysecret0"},
        {"api_key_env": "VERYsecret0"},
        {"api_key_env": "sk-very-secret", "base_url": "https://very-secret@host/v1", "api_key": "very-secret"},
        {"api_key": "very-secret"},
        {"base_url": "https://me:very-secret@host/v1"},
        {"base_url": "https://host/v1?key=very-secret"},
        {"base_url": "very-secret"},
    ],
)
def test_a_key_in_the_settings_is_refused_and_not_repeated(settings: dict) -> None:
    with pytest.raises(RecipeError) as error:
        parse({"model": "m", "feature": "relevance", **settings})
    assert "secret" not in str(error.value)
    term = {"judge": {"model": "m", "feature": "relevance", **settings}}
    with pytest.raises(RecipeError) as error:
        load_recipe({"stages": ["sft", {"evaluate": {"rewards": {"x": term}}}]})
    assert "secret" not in str(error.value)


def test_a_variable_has_an_underscore_in_its_name() -> None:
    """AWS's keys, for one, are capitals and digits."""
    assert parse({"model": "m", "feature": "relevance", "api_key_env": "MY_KEY_2"}).api_key_env == "MY_KEY_2"
    for name in ("AKIA1234567890", "MY_", "_KEY", "MY-KEY", "my_key"):
        with pytest.raises(RecipeError, match="such as MY_KEY, and not the key; set the variable"):
            parse({"model": "m", "feature": "relevance", "api_key_env": name})


def test_a_key_in_the_environment_s_address_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:very-secret@host/v1")
    with pytest.raises(RecipeError, match="what OPENAI_BASE_URL says must look like") as error:
        parse({"model": "m", "feature": "relevance"})
    assert "secret" not in str(error.value)


def test_a_feature_of_words_has_no_model() -> None:
    assert LocalConfig(feature="relevance", model="org/encoder").model == "org/encoder"
    for feature in ("aspect_coverage", "conciseness"):
        with pytest.raises(RecipeError, match=f"`{feature}` is computed from words alone; remove `model`"):
            LocalConfig.parse({"feature": feature, "model": "org/encoder"}, where="here")


def test_two_sources_are_two_rewards() -> None:
    terms = {"x": {"local": "relevance", "judge": {"model": "m", "feature": "relevance"}}}
    with pytest.raises(RecipeError, match="`local` and `judge` are two rewards; make two terms of them"):
        FeaturesConfig.parse({"features": terms}, where="here")
