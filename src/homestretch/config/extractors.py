"""Settings of extractors: who says how good a text is in one respect, small local models or a judge that is asked.

rewards:
  relevant: {local: relevance}                                   # computed here
  entailed: {local: {feature: opinion_faithfulness, model: org/nli}}
  on_topic: {judge: relevance}                                   # model and endpoint from the environment
  kind: {judge: {prompt: "Does it stay kind?", model: org/judge, base_url: "http://localhost:8000/v1"}}
"""

from __future__ import annotations

import os
import re
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from homestretch.config.base import Config

Feature = Literal[
    "aspect_coverage",
    "opinion_faithfulness",
    "opinion_coverage",
    "conciseness",
    "relevance",
    "hallucination",
    "language_correctness",
]
"""The seven qualities of a text about a document (Nath et al. 2024, arXiv:2402.15473); more is better in each, so that
the most `hallucination` means that there is none."""

WITHOUT_MODEL = ("aspect_coverage", "conciseness")
"""Features that are computed from words alone."""

MODEL_VARIABLE, URL_VARIABLE, KEY_VARIABLE = "HOMESTRETCH_JUDGE_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"
URL = "https://api.openai.com/v1"

# With an underscore: keys of capitals and digits alone are in use, and must not pass for a variable's name.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def _alone(given: Any) -> Any:
    return {"feature": given} if isinstance(given, str) else given


class LocalConfig(Config):
    """A feature that is computed here, 0 to 1. Its name stands for it alone."""

    feature: Feature
    """What is measured (`rewards.local`)."""
    model: str | None = Field(None, min_length=1)
    """Another model, by folder or Hub name: the sentence encoder of `relevance` and `opinion_coverage`, the language
    model of `language_correctness`, or a classifier of entailment (NLI) for `opinion_faithfulness` and
    `hallucination`. None takes the packaged encoder and language model, and no classifier."""

    _name_alone = model_validator(mode="before")(_alone)

    @model_validator(mode="after")
    def _reads_a_model(self) -> Self:
        if self.model is not None and self.feature in WITHOUT_MODEL:
            raise ValueError(f"`{self.feature}` is computed from words alone; remove `model`")
        return self


class JudgeConfig(Config):
    """A language model behind an OpenAI-compatible endpoint that grades one quality, 0 to 5, given as 0 to 1. A
    feature's name stands for it alone."""

    feature: Feature | None = None
    """A quality with a prompt of ours (`rewards.judge_prompts`)."""
    prompt: str | None = Field(None, min_length=1)
    """Or what to grade in your own words; 5 must be the best. The scale and the form of the answer are added."""
    model: str = Field(default_factory=lambda: os.environ.get(MODEL_VARIABLE, ""))
    """The judge's name at the endpoint; by default what $HOMESTRETCH_JUDGE_MODEL says."""
    base_url: str = Field(default_factory=lambda: os.environ.get(URL_VARIABLE, URL))
    """The endpoint, `/chat/completions` left off; by default what $OPENAI_BASE_URL says, or OpenAI's own."""
    api_key_env: str = KEY_VARIABLE
    """The environment variable that holds the key: capitals with an underscore, such as `MY_KEY`. The key itself is
    written nowhere; an unset one sends none."""
    samples: PositiveInt = 3
    """Answers that are averaged. Origin: our reading of the sheet (several)."""
    temperature: float = Field(0.7, ge=0)
    """Temperature of the answers."""
    max_tokens: PositiveInt = 300
    """Tokens of an answer at most, those of a model's reasoning included; an endpoint that asks for them as
    `max_completion_tokens` gets that name."""
    response_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How the endpoint is made to answer in JSON; `text` only asks for it, for servers that know neither."""
    timeout: PositiveFloat = 60.0
    """Seconds to wait for the endpoint to go on."""
    max_retries: int = Field(5, ge=0)
    """Further tries of a request that failed or was not answered as asked."""
    retry_wait: float = Field(1.0, ge=0)
    """Seconds before the first further try; doubled for each one after it, and never less than the endpoint asks."""
    concurrency: PositiveInt = 4
    """Requests at a time."""
    requests_per_minute: PositiveFloat | None = None
    """Requests that are begun in a minute at most, evenly spread; None sets no limit."""
    input_price: float | None = Field(None, ge=0)
    """Price of a million tokens that are read, for the estimate."""
    output_price: float | None = Field(None, ge=0)
    """Price of a million tokens that are written, for the estimate."""
    max_cost: float | None = Field(None, ge=0)
    """What may be spent by estimate, in the unit of the prices; nothing is asked that would go beyond."""

    _name_alone = model_validator(mode="before")(_alone)

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = _VARIABLE.fullmatch(str(given.get("api_key_env", KEY_VARIABLE)))
        if named and _plain(str(given.get("base_url", URL))):
            return given
        # All that was given is repeated in the message, and any of these may be the key itself: covered first.
        covered = given.keys() - (cls.model_fields.keys() - {"api_key_env", "base_url"})
        given.update(dict.fromkeys(covered, "***"))
        if named:
            raise ValueError("`base_url` must look like https://host/v1, without a key in it; use `api_key_env`")
        raise ValueError(
            "`api_key_env` is the name of an environment variable, such as MY_KEY, and not the key; set the variable"
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.feature is None) == (self.prompt is None):
            raise ValueError("a judge needs a `feature` or a `prompt`, and not both")
        if not self.model:
            raise ValueError(f"a judge needs a `model`; name it, or set {MODEL_VARIABLE}")
        if not _plain(self.base_url):
            raise ValueError(f"what {URL_VARIABLE} says must look like https://host/v1, without a key in it")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples at temperature 0 are all the same; set samples to 1, or raise the temperature")
        if self.max_cost is not None and None in (self.input_price, self.output_price):
            raise ValueError("`max_cost` needs `input_price` and `output_price`; give both")
        return self


def _plain(url: str) -> bool:
    """Whether it is an address without a place where a key could stand."""
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    no_key = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and has_place and no_key
