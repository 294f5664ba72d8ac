"""Settings of `homestretch generate`: what is chosen at each step, and when a text ends."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from homestretch.config.base import Config

CANDIDATES = 8
"""Tokens that steering weighs at each step: the most probable ones."""
SUCCESS = "success"
"""The goal of the references that a reward model was trained on."""


class DecodingConfig(Config):
    """Greedy, sampling at a temperature, or beam search. A setting that would have no effect is refused."""

    temperature: float = Field(0.0, ge=0)
    """Logits are divided by it; 0 takes the most probable token at each step (greedy)."""
    top_k: NonNegativeInt = 0
    """Sample from the k most probable tokens only; 0 keeps all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample only from the smallest set of most probable tokens whose mass reaches this."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Sample only from tokens at least this probable relative to the most probable one."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Scores of tokens that the row has already, prompt included, are divided by it where they are positive, and
    multiplied where they are negative. Above 1 avoids repeats."""
    num_beams: PositiveInt = 1
    """Texts that a beam search keeps under way; 1 is no beam search."""
    length_penalty: float = 1.0
    """Beam search ranks texts by their log-probability divided by their length to this power."""
    early_stopping: bool | Literal["never"] = False
    """When a beam search has enough finished texts: at once (true), when the best text under way would not come among
    them if it ended now (false), or when it could not at any length ("never")."""
    stop: list[Annotated[str, Field(min_length=1)]] = []
    """Strings that end a text, which is cut before them."""
    max_new_tokens: PositiveInt = 96
    """Tokens at most, end marker included."""
    num_samples: PositiveInt = 1
    """Texts of each prompt."""
    goal_model: str | None = Field(None, min_length=1)
    """Folder of a causal reward model with goals, on the tokenizer of the model that generates."""
    give_up_below: float | None = Field(None, ge=-1, le=1)
    """A text is given up when its nearness to the goal `give_up_goal` (a cosine) has been below this for `patience`
    tokens; `homestretch reward filter` finds a threshold."""
    give_up_goal: str = Field(SUCCESS, min_length=1)
    """Name of the goal to which a text must be near; thresholds of one goal say nothing of another."""
    patience: PositiveInt = 1
    """Tokens in a row below the threshold before a text is given up."""
    steer: dict[str, float] = {}
    """Goals by name, with what a cosine of 1 adds to a token's log-probability; below 0 leads away. The eight most
    probable tokens are weighed, all others fall away; then come `temperature`, `top_k`, `top_p` and `min_p`."""

    @model_validator(mode="after")
    def _everything_has_an_effect(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        given = {name: value for name, value in self if value != defaults[name]}
        drawing = next((name for name in ("top_k", "top_p", "min_p") if name in given), None)
        if self.num_beams > 1:
            unused = "temperature" if "temperature" in given else drawing
            if unused is not None:
                raise ValueError(f"beam search draws nothing: leave out `{unused}`, or `num_beams`")
            if self.stop:
                raise ValueError("beam search does not know stop strings: leave out `stop`, or `num_beams`")
            if self.goal_model is not None:
                raise ValueError("beam search does not read goals: leave out `goal_model`, or `num_beams`")
            if self.num_samples > self.num_beams:
                raise ValueError(f"{self.num_beams} beams give no {self.num_samples} texts: raise `num_beams`")
            return self
        self._goals_are_used()
        of_beams = next((name for name in ("length_penalty", "early_stopping") if name in given), None)
        if of_beams is not None:
            raise ValueError(f"`{of_beams}` is of beam search: give `num_beams` above 1")
        if self.temperature == 0 and drawing is not None:
            raise ValueError(f"`{drawing}` has no effect at temperature 0: give a `temperature`")
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError("at temperature 0 all samples are the same: give a `temperature`, or `num_beams`")
        return self

    def _goals_are_used(self) -> None:
        uses = self.give_up_below is not None or bool(self.steer)
        if uses and self.goal_model is None:
            given = "steer" if self.steer else "give_up_below"
            raise ValueError(f"`{given}` reads goals: give a `goal_model`")
        if self.goal_model is not None and not uses:
            raise ValueError("`goal_model` has no effect alone: give `give_up_below` or `steer`")
        given_up_by = "patience" if self.patience > 1 else "give_up_goal" if self.give_up_goal != SUCCESS else None
        if given_up_by is not None and self.give_up_below is None:
            raise ValueError(f"`{given_up_by}` has no effect alone: give `give_up_below`")
        if self.steer and self.top_k >= CANDIDATES:
            raise ValueError(
                f"steering leaves the {CANDIDATES} most probable tokens, so that `top_k` = {self.top_k} has no effect: "
                "lower it, or leave it out"
            )
