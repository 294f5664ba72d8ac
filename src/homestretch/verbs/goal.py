"""Goals of reward models: made from good responses, read at every token, and used to give texts up or to steer them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homestretch.config.decoding import DecodingConfig
from homestretch.data.records import Example, completion_text, prompt_text
from homestretch.data.sources import examples_of
from homestretch.errors import DataError, InputError
from homestretch.metrics.voting import Filter, Voted, threshold_for_recall, vote
from homestretch.seeds import fold
from homestretch.verbs.reward import reward_folder, text_rows

if TYPE_CHECKING:
    from homestretch.batch import SequenceBatch
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
    good. It is that behind their last tokens, or behind random ones. Returns how many responses it was made from.

    Raises InputError.
    """
    from homestretch.policies.load import choose_device
    from homestretch.rewards.goal import goal_state, load_goals, save_goals
    from homestretch.rewards.model import load_reward

    folder = reward_folder(Path(reward_model))
    examples = examples_of(data, "train")
    for e in examples:
        if not completion_text(e):
            raise DataError(f"{e.where}: a goal is made from good responses, and here is none; give a `completion`.")
    goals = load_goals(folder)
    model = load_reward(folder, device=choose_device(device))
    state_D = goal_state(model.policy, _tokens(model, examples), tokens=tokens, seed=seed)
    save_goals(folder, goals | {name: state_D})
    return len(examples)


def token_values(
    reward_model: str | Path, data: str | Path, *, goal: str = "success", device: Device = "auto"
) -> list[dict[str, Any]]:
    """`{"id", "prompt", "text", "q", "rewards"}` of every row: how near it is to the goal (a cosine) and its reward (a
    logit) as they stand behind each token, end marker included. Raises InputError."""
    from homestretch.policies.load import choose_device
    from homestretch.progress import progress
    from homestretch.rewards.goal import load_goal_model

    rows = text_rows(examples_of(data))
    model = load_goal_model(reward_folder(Path(reward_model)), device=choose_device(device))
    with progress(len(rows), "score tokens", "row") as bar:
        for at in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[at : at + ROWS_AT_ONCE]
            batch = _batch(model.reward, part)
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
    patience: int = 1,
    goal: str = "success",
    seed: int = 0,
    device: Device = "auto",
) -> dict[str, Any]:
    """The threshold that keeps this share of the good responses, and what it does to responses that it has not seen.

    Rows of `data` say whether they are good (`correct`: true or false) and may have an `answer`, which votes. Half of
    the prompts choose the threshold, the others are voted on, with and without it. Raises InputError.
    """
    examples = examples_of(data)
    for e in examples:
        if not isinstance(e.columns.get("correct"), bool):
            raise DataError(
                f"{e.where}: a filter is fitted to known responses; give a column `correct`, true or false."
            )
    values = [row["q"] for row in token_values(reward_model, data, goal=goal, device=device)]
    prompts = sorted({prompt_text(e) for e in examples}, key=lambda text: fold("filter", seed, text))
    choosing = set(prompts[: len(prompts) // 2])
    chosen = [i for i, e in enumerate(examples) if prompt_text(e) in choosing]
    correct = [bool(e.columns["correct"]) for e in examples]
    try:
        by = threshold_for_recall(
            [values[i] for i in chosen], [correct[i] for i in chosen], recall=recall, patience=patience
        )
    except ValueError as error:
        raise DataError(
            f"{data}: of the half of the prompts that choose the threshold {error}; give more rows."
        ) from None
    groups: dict[str, list[int]] = {}
    for i, e in enumerate(examples):
        if prompt_text(e) not in choosing:
            groups.setdefault(prompt_text(e), []).append(i)
    votes: dict[str, list[Voted]] = {"all": [], "kept": []}
    for rows in groups.values():
        answers = [str(examples[i].columns.get("answer", completion_text(examples[i]))) for i in rows]
        known, read = [correct[i] for i in rows], [values[i] for i in rows]
        votes["all"].append(vote(answers, known, read))
        votes["kept"].append(vote(answers, known, read, by=by))
    return {"filter": by} | {name: summary(found) for name, found in votes.items()}


def summary(votes: Sequence[Voted]) -> dict[str, float]:
    """Share of right votes, share of right responses among the kept, and share of tokens saved."""
    kept, tokens = sum(v.kept for v in votes), sum(v.tokens for v in votes)
    return {
        "prompts": len(votes),
        "vote_right": sum(v.right for v in votes) / max(len(votes), 1),
        "responses_right": sum(v.kept_right for v in votes) / max(kept, 1),
        "tokens_saved": sum(v.saved for v in votes) / max(tokens, 1),
    }


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
        options["watch"] = Watch(policy, model.goal(), rule)
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


def _tokens(model: RewardModel, examples: Sequence[Example]) -> Any:
    from homestretch.data.tokenize import tokenize_examples

    return tokenize_examples(examples, model.tokenizer, is_encoder_decoder=model.policy.trunk.is_encoder_decoder)


def _batch(model: RewardModel, rows: Sequence[dict[str, Any]]) -> SequenceBatch:
    from homestretch.data.collate import collate_texts

    return collate_texts(
        model.tokenizer,
        [row["given"] for row in rows],
        [row["text"] for row in rows],
        terminated=[row["terminated"] for row in rows],
        is_encoder_decoder=model.policy.trunk.is_encoder_decoder,
    )
