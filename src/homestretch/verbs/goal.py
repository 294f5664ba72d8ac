"""Goals of reward models: made from good responses, read at every token, and used to give texts up or to steer them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homestretch.config.decoding import DecodingConfig
from homestretch.data.records import Example, prompt_text
from homestretch.data.sources import examples_of
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.metrics.voting import PATIENCES, Filter, Question, Voted, filter_for_recall, vote
from homestretch.seeds import fold
from homestretch.verbs.reward import reward_folder, text_rows

if TYPE_CHECKING:
    from homestretch.data.tokenize import TokenizedExample
    from homestretch.rewards.goal import GoalModel
    from homestretch.rewards.model import RewardModel

Device = Literal["auto", "cpu", "cuda", "mps"]
ROWS_AT_ONCE = 64
KEPT = 0.95


def make_goal(
    reward_model: str | Path,
    data: str | Path,
    *,
    name: str = "success",
    tokens: Literal["last", "random"] = "last",
    seed: int = 0,
    device: Device = "auto",
) -> int:
    """Add the goal `name` to a reward model's folder: the mean state of the responses in `data`, all of which should be
    good: their column `text`, or their completions. It is that behind their last tokens, or behind random ones. Returns
    how many responses it was made from.

    Raises InputError.
    """
    from homestretch.policies.load import choose_device
    from homestretch.rewards.goal import goal_state, load_goals, save_goals
    from homestretch.rewards.model import load_reward

    folder = reward_folder(Path(reward_model))
    examples = examples_of(data, "train")
    for e in examples:
        if not e.columns.get("text", e.references):
            raise DataError(f"{e.where}: a goal is made from good responses, and here is none; give a `completion`.")
    goals = load_goals(folder)
    model = load_reward(folder, device=choose_device(device))
    state_D = goal_state(model.policy, _tokens(model, text_rows(examples)), tokens=tokens, seed=seed)
    save_goals(folder, goals | {name: state_D})
    return len(examples)


def token_values(
    reward_model: str | Path, data: str | Path, *, goal: str = "success", device: Device = "auto"
) -> list[dict[str, Any]]:
    """`{"id", "prompt", "text", "q", "rewards"}` of every row: how near it is to the goal (a cosine) and its reward (a
    logit) as they stand behind each token, end marker included. Raises InputError."""
    from homestretch.data.collate import collate
    from homestretch.policies.load import choose_device
    from homestretch.progress import progress
    from homestretch.rewards.goal import load_goal_model

    rows = text_rows(examples_of(data))
    model = load_goal_model(reward_folder(Path(reward_model)), device=choose_device(device))
    with progress(len(rows), "score tokens", "row") as bar:
        for at in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[at : at + ROWS_AT_ONCE]
            batch = collate(_tokens(model.reward, part))
            values = model.values(batch, goal)
            for row, length, q_T, reward_T in zip(part, batch.length_B.tolist(), *values, strict=True):
                row["q"], row["rewards"] = q_T[:length].tolist(), reward_T[:length].tolist()
            bar.advance(len(part))
    return [{k: v for k, v in row.items() if k not in ("given", "terminated")} for row in rows]


def find_filter(
    reward_model: str | Path,
    data: str | Path,
    *,
    recall: float = KEPT,
    patience: int | None = None,
    goal: str = "success",
    seed: int = 0,
    device: Device = "auto",
) -> dict[str, Any]:
    """When to give a text up: `{"filter", "all", "kept"}`, the rule that keeps this share (in (0, 1]) of the good
    responses, and a `summary` of votes on responses that it has not seen, without it and with it.

    Rows of `data` say whether they are good (`correct`: true or false). Their `answer` votes, and one without has no
    vote; where no row has one, texts vote. Half of the prompts choose the threshold, and the patience (tokens in a row)
    that saves most where none is given; the others are voted on. Tokens saved are those that `generate` would not
    write, which looks at a text every 16 tokens. Raises InputError.
    """
    from homestretch.generation.watch import EVERY

    if not 0 < recall <= 1:
        raise RecipeError(f"recall {recall:g} is no share of good responses; give one above 0, and 1 at most.")
    if patience is not None and patience < 1:
        raise RecipeError(f"patience {patience} is no number of tokens in a row; give 1 or more.")
    examples = examples_of(data)
    choosing = _choosing(examples, data, seed)
    questions = _questions(examples, token_values(reward_model, data, goal=goal, device=device))
    by = filter_for_recall(
        [question for prompt, question in questions.items() if prompt in choosing],
        recall=recall,
        every=EVERY,
        patiences=PATIENCES if patience is None else [patience],
    )
    others = [question for prompt, question in questions.items() if prompt not in choosing]
    return {
        "filter": by,
        "all": summary([vote(*question) for question in others]),
        "kept": summary([vote(*question, by=by, every=EVERY) for question in others]),
    }


def _choosing(examples: Sequence[Example], data: str | Path, seed: int) -> set[str]:
    """The half of the prompts that choose a threshold. Raises DataError where they cannot."""
    for e in examples:
        if not isinstance(e.columns.get("correct"), bool):
            raise DataError(
                f"{e.where}: a filter is fitted to known responses; give a column `correct`, true or false."
            )
    prompts = sorted({prompt_text(e) for e in examples}, key=lambda text: fold("filter", seed, text))
    if len(prompts) < 2:
        raise DataError(
            f"{data}: half of the prompts choose the threshold and the others are voted on, and all rows have the same "
            "prompt; give rows of two or more."
        )
    choosing = set(prompts[: len(prompts) // 2])
    right = {prompt_text(e) for e in examples if e.columns["correct"]}
    if not right:
        raise DataError(
            f"{data}: no row is `correct: true`, so that there is nothing to keep; give right responses too."
        )
    if not right & choosing:
        raise DataError(
            f"{data}: no row is `correct: true` in the half of the prompts that choose the threshold; give more rows, "
            "or another seed."
        )
    return choosing


def _questions(examples: Sequence[Example], read: Sequence[dict[str, Any]]) -> dict[str, Question]:
    """The responses of each prompt, `read` by a goal model (`token_values`)."""
    answered = any("answer" in e.columns for e in examples)
    found: dict[str, Question] = {}
    for e, row in zip(examples, read, strict=True):
        given = e.columns.get("answer") if answered else row["text"]
        answers, right, values = found.setdefault(prompt_text(e), Question([], [], []))
        answers.append(None if given is None else str(given))
        right.append(e.columns["correct"])
        values.append(row["q"])
    return found


def summary(votes: Sequence[Voted]) -> dict[str, float]:
    """Share of right votes, share of right responses among the kept, share of tokens saved, and how many prompts lost
    all of their responses, so that all were kept."""
    kept, tokens = sum(v.kept for v in votes), sum(v.tokens for v in votes)
    return {
        "prompts": len(votes),
        "vote_right": sum(v.right for v in votes) / max(len(votes), 1),
        "responses_right": sum(v.kept_right for v in votes) / max(kept, 1),
        "tokens_saved": sum(v.saved for v in votes) / max(tokens, 1),
        "lost_all": sum(v.lost_all for v in votes),
    }


def prompts_given_up(rows: Sequence[dict[str, Any]], num_samples: int) -> int:
    """How many prompts lost all of their samples, of the rows that `generate` returns with `give_up_below`."""
    groups = [rows[at : at + num_samples] for at in range(0, len(rows), num_samples)]
    return sum(all(row["given_up"] for row in group) for group in groups)


def goal_readers(config: DecodingConfig, tokenizer: Any, device: Any) -> dict[str, Any]:
    """What reads along while texts are sampled, as options of the engine. Raises InputError."""
    if config.goal_model is None:
        return {}
    import torch

    from homestretch.generation.steering import Steering
    from homestretch.generation.watch import Watch
    from homestretch.policies.packed import packs

    model = _reader(config.goal_model, tokenizer, device)
    policy, options = model.reward.policy, {}
    if config.give_up_below is not None:
        rule = Filter(threshold=config.give_up_below, patience=config.patience)
        options["watch"] = Watch(policy, model.goal(config.give_up_goal), rule)
    if config.steer:
        if not packs(policy.trunk.lm):
            raise InputError(
                f"{config.goal_model}: steering needs a model that takes any attention mask; use another one."
            )
        goals_GD = torch.stack([model.goal(name) for name in config.steer])
        options["steering"] = Steering(policy, goals_GD, torch.tensor(list(config.steer.values())))
    return options


def _reader(folder: str, tokenizer: Any, device: Any) -> GoalModel:
    from homestretch.rewards.goal import load_goal_model

    model = load_goal_model(reward_folder(Path(folder)), device=device)
    if model.reward.policy.trunk.is_encoder_decoder:
        raise InputError(f"{folder}: a goal model that reads along must be causal; train one on a causal model.")
    if model.reward.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise InputError(
            f"{folder}: the goal model has another vocabulary than the model that generates, and reads its tokens; "
            "train one on a model with the same tokenizer."
        )
    return model


def _tokens(model: RewardModel, rows: Sequence[dict[str, Any]]) -> list[TokenizedExample]:
    """Prompts and texts of `text_rows` as token ids of the reward model."""
    from homestretch.data.prompts import completion_ids, prompt_ids
    from homestretch.data.tokenize import TokenizedExample

    with_encoder, found = model.policy.trunk.is_encoder_decoder, []
    for i, row in enumerate(rows):
        how: dict[str, Any] = {"is_encoder_decoder": with_encoder, "where": row["id"]}
        before = prompt_ids(row["given"], model.tokenizer, **how)
        ended = row["terminated"]
        text = completion_ids(row["text"], row["given"], model.tokenizer, terminated=ended, **how)
        found.append(TokenizedExample(i, before, text, len(text), ended))
    return found
