"""`homestretch generate MODEL DATA`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from homestretch.cli.options import Data, Device, Seed

Split = Annotated[Literal["train", "validation", "test"], typer.Option(help="Part of the data set.")]
Enough = Annotated[
    Literal["no", "yes", "never"],
    typer.Option(help="Beams: end with enough texts; or when no better one is likely (no), or possible (never)."),
]
Stop = Annotated[list[str] | None, typer.Option(help="Text ends before this; may be repeated.")]
GoalModel = Annotated[str | None, typer.Option(help="Reward model that reads along.")]
GiveUp = Annotated[float | None, typer.Option(help="Give texts up below this nearness.")]
GiveUpGoal = Annotated[str, typer.Option(help="To this goal.")]
Steer = Annotated[
    list[str] | None,
    typer.Option(metavar="GOAL=WEIGHT", help="Favour what leads there; may be repeated."),
]
MaxPrompt = Annotated[int, typer.Option(min=1, help="Longer ones are cut.")]
MaxCache = Annotated[int | None, typer.Option(min=1, help="Tokens cached at a time.")]


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, Hub name, or builtin/smollm2-135m.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    split: Split = "test",
    max_examples: Annotated[int | None, typer.Option(min=1, help="Prompts at most.")] = None,
    prompt_suffix: Annotated[str, typer.Option(help="dataset.prompt_suffix of training.")] = "",
    max_prompt_length: MaxPrompt = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Most probable tokens to sample from; 0 takes all.")] = 0,
    min_p: Annotated[float, typer.Option(help="Least probability relative to the best token's.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1 avoids repeats.")] = 1.0,
    num_beams: Annotated[int, typer.Option(min=1, help="Beams; 1 is no search.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Beam search: above 0 favours long texts.")] = 1.0,
    early_stopping: Enough = "no",
    stop: Stop = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens at most, end marker included.")] = 96,
    num_samples: Annotated[int, typer.Option(min=1, help="Outputs of each prompt.")] = 1,
    goal_model: GoalModel = None,
    give_up_below: GiveUp = None,
    give_up_goal: GiveUpGoal = "success",
    patience: Annotated[int, typer.Option(min=1, help="So many tokens in a row.")] = 1,
    steer: Steer = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Rows decoded at a time.")] = None,
    max_cache_tokens: MaxCache = None,
    arm: Annotated[str, typer.Option(help="Name of these outputs.")] = "ml_raw",
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Generate for every prompt: greedy, sampled, or by beam search."""
    from homestretch.verbs import generate as verb

    drawn: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    rows = verb.generate(
        model,
        data,
        out,
        split=split,
        max_examples=max_examples,
        prompt_suffix=prompt_suffix,
        max_prompt_length=max_prompt_length,
        **drawn,
        repetition_penalty=repetition_penalty,
        num_beams=num_beams,
        length_penalty=length_penalty,
        early_stopping={"no": False, "yes": True}.get(early_stopping, "never"),
        stop=stop or [],
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        **_goals(goal_model, give_up_below, give_up_goal, patience, steer or ()),
        max_rows=max_rows,
        max_cache_tokens=max_cache_tokens,
        arm=arm,
        seed=seed,
        device=device,
    )
    print(f"{out}: {len(rows)} rows")
    if give_up_below is not None:
        _say_who_lost_all(rows, num_samples)


def _goals(
    goal_model: str | None, give_up_below: float | None, give_up_goal: str, patience: int, steer: Sequence[str]
) -> dict[str, Any]:
    given: dict[str, Any] = {"goal_model": goal_model, "give_up_below": give_up_below, "give_up_goal": give_up_goal}
    return given | {"patience": patience, "steer": _weights(steer)}


def _say_who_lost_all(rows: Sequence[dict[str, Any]], num_samples: int) -> None:
    from homestretch.progress import say
    from homestretch.verbs.goal import prompts_given_up

    lost, prompts = prompts_given_up(rows, num_samples), len(rows) // num_samples
    if lost:
        say(
            f"{lost} of {prompts} prompts lost all of their samples: their rows have the texts as they were when they "
            "were given up, cut short, and say `given_up`; lower --give-up-below to keep more."
        )


def _weights(given: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for name, weight in map(_weighed, given):
        if name in weights:
            raise typer.BadParameter(f"--steer {name} is given twice: write each goal once, with one weight")
        weights[name] = weight
    return weights


def _weighed(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise typer.BadParameter(f"--steer {text}: write a goal and its weight, such as success=4") from None
