"""`homestretch reward fit|score|explain|compare|goal|filter`"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from homestretch.cli.options import Data, Device, Model, OnBadRow, Seed, Settings

if TYPE_CHECKING:
    from homestretch.ordered import Ordered

Reward = Annotated[Path, typer.Argument(metavar="REWARD_MODEL", help="Its folder, or a run that has one.")]

AllPairs = Annotated[
    bool, typer.Option("--all-pairs", help="All pairs; else those that a fit to the same data leaves out.")
]
Report = Annotated[Path | None, typer.Option("--report", help="HTML file to write.")]

app = typer.Typer(help="Fit a reward model, and score text with one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("fit")
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Run folder, or that of a reward of features.")],
    settings: Settings = None,
    kind: Annotated[
        Literal["model", "features"], typer.Option(help="A head on a language model, or a small net on named features.")
    ] = "model",
    file: Annotated[Path | None, typer.Option("--settings", help="YAML file with the features and their net.")] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Of features: also what fewer pairs would give.")] = False,
    model: Model = "builtin/smollm2-135m",
    on_bad_row: OnBadRow = "error",
) -> None:
    """Fit a reward model on failure modes made of your pairs, or on your own `rejected` answers."""
    if kind == "features":
        from homestretch.cli.summary import columns
        from homestretch.verbs.features import fit_features

        found = fit_features(data, out=out, settings=file, on_bad_row=on_bad_row, curve=curve, overrides=settings or ())
        print(columns(_fit_table(found)))
        print("\n".join([*_dead_starts(found["dead_starts"]), *found["remarks"], f"reward: {out}"]))
        return
    if file is not None:
        raise typer.BadParameter("--settings is for --kind features; write settings of a reward model as key=value")
    if curve:
        raise typer.BadParameter("--curve is for --kind features; leave it out")
    from homestretch.verbs.reward import fit_reward, reward_folder

    run = fit_reward(data, model=model, out=out, on_bad_row=on_bad_row, overrides=settings or ())
    print(f"reward model: {reward_folder(run.path)}")


@app.command("score")
def score(
    reward_model: Reward,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Part of a data set with splits.")
    ] = "test",
    device: Device = "auto",
) -> None:
    """Write the reward of every row's text or completion."""
    from homestretch.verbs.reward import score_rows

    rows = score_rows(reward_model, data, out, split=split, device=device)
    mean = sum(row["reward"] for row in rows) / len(rows)
    print(f"{out}: {len(rows)} rows, mean reward {mean:.3f}")


@app.command("explain")
def explain(
    reward: Annotated[Path, typer.Argument(metavar="REWARD", help="Folder of a reward of features.")],
    data: Data,
    all_pairs: AllPairs = False,
    report: Report = None,
    on_bad_row: OnBadRow = "error",
) -> None:
    """Say what a reward of features looks at, on pairs of a better and a worse text."""
    from homestretch.cli.summary import columns
    from homestretch.report.ordered_tables import influence_table
    from homestretch.verbs.ordering import explain_features

    found = explain_features(reward, data, all_pairs=all_pairs, report=report, on_bad_row=on_bad_row)
    _print_ordered(found)
    for explanation in found.explanations.values():
        print()
        print(columns(influence_table(explanation)))
    if report is not None:
        print(f"report: {report}")


@app.command("compare")
def compare(
    data: Data,
    rewards: Annotated[
        list[Path],
        typer.Argument(metavar="REWARD...", help="Folders of rewards of features, reward models, or runs with one."),
    ],
    all_pairs: AllPairs = False,
    report: Report = None,
    on_bad_row: OnBadRow = "error",
    device: Device = "auto",
) -> None:
    """Compare rewards on the same pairs of a better and a worse text: how many does each order the right way?"""
    from homestretch.verbs.ordering import compare_rewards

    found = compare_rewards(data, rewards, all_pairs=all_pairs, report=report, on_bad_row=on_bad_row, device=device)
    _print_ordered(found)
    if report is not None:
        print(f"report: {report}")


@app.command("goal")
def goal(
    reward_model: Reward,
    data: Data,
    name: Annotated[str, typer.Option(help="What these responses have in common.")] = "success",
    tokens: Annotated[
        Literal["last", "random"], typer.Option(help="State behind the last token of each response, or a random one.")
    ] = "last",
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Add a goal to a reward model: the mean state of good responses."""
    from homestretch.verbs.goal import make_goal

    n = make_goal(reward_model, data, name=name, tokens=tokens, seed=seed, device=device)
    print(f"goal `{name}`: the mean of {n} responses")


@app.command("filter")
def find(
    reward_model: Reward,
    data: Data,
    recall: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of good responses to keep.")] = 0.95,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a row below the threshold; else what saves most.")
    ] = None,
    goal: Annotated[str, typer.Option(help="Name of the goal.")] = "success",
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Find when to give a text up, on responses with a column `correct`, and what that saves."""
    import shlex

    from homestretch.cli.summary import columns
    from homestretch.verbs.goal import find_filter

    found = find_filter(reward_model, data, recall=recall, patience=patience, goal=goal, seed=seed, device=device)
    rows = [["", "prompts", "votes right", "responses right", "tokens saved"]]
    for part, label in (("all", "all responses"), ("kept", "after the filter")):
        values = found[part]
        shares = [f"{100 * values[key]:.1f} %" for key in ("vote_right", "responses_right", "tokens_saved")]
        rows.append([label, str(values["prompts"]), *shares])
    print(columns(rows))
    if lost := found["kept"]["lost_all"]:
        print(
            f"{lost} of {found['kept']['prompts']} prompts lost all of their responses: here these were all kept, to "
            "vote, and count as nothing saved; `generate` would cut them."
        )
    by, of = found["filter"], "" if goal == "success" else f" --give-up-goal {shlex.quote(goal)}"
    print(f"--give-up-below {_floored(by.threshold)} --patience {by.patience}{of}")


def _floored(threshold: float) -> str:
    """The threshold with six digits and not above it, at which what it keeps would be given up."""
    return str(Decimal(threshold).quantize(Decimal("0.000001"), rounding=ROUND_FLOOR))


def _fit_table(found: dict[str, Any]) -> list[list[str]]:
    rows = [["", "accuracy", "negative log-likelihood", "pairs"]]
    for part in ("train", "validation"):
        fit = found[part]
        rows.append([part, f"{fit['accuracy_ties_half']:.3f}", f"{fit['nll']:.3f}", str(fit["n"])])
    return rows + [[f"{name} alone", f"{value:.3f}", "-", "-"] for name, value in found["alone"].items()]


def _dead_starts(dead: int) -> list[str]:
    said = f"Of {dead + 1} starts {dead} gave every text the same reward, or none that is finite; the last one is kept."
    return [said] if dead else []


def _print_ordered(found: Ordered) -> None:
    from homestretch.cli.summary import columns
    from homestretch.report.ordered_tables import agreement_table, sentence

    print(sentence(found))
    print()
    print(columns(agreement_table(found)))
