"""The alarms in training: what each stage is watched for, sentences, and a stage that ends with its best round kept."""

from __future__ import annotations

import math
from typing import Any

import pytest
from offline_runs import SMALL, log, recipe
from test_loop import CONFIG, rows_of, same, snapshots
from toy import accelerator, plan, trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT
from homestretch.config.distill import DistillConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.reward import RewardConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.stages import STAGES
from homestretch.config.training import TrainingConfig
from homestretch.errors import RecipeError
from homestretch.policies.policy import Policy
from homestretch.training.alarms import ALARMS, Golden, HeldOut, Watched, distances, evaluations, watched
from homestretch.training.doctor import CHECKS, STOPS, Doctor, watcher
from homestretch.training.loop import fit
from homestretch.training.pipeline import run_recipe

Rows = list[dict[str, Any]]
TRAINING = [name for name, config in STAGES.items() if issubclass(config, TrainingConfig)]
JUDGE = {"golden": {"judge": {"function": "mine:judge"}}}
STUDENT = DistillConfig(teacher_name_or_path="teacher")


def told(rows: Rows, config: TrainingConfig, **more: Any) -> list[tuple[int, str]]:
    watch = watcher(config, **more)
    assert watch is not None
    return [(row["step"], sentence) for row in rows for sentence in watch(row)[0]]


def columns(count: int, **series: Any) -> Rows:
    """Rows of rounds 1 to `count`; each series is a function of the round, and None leaves the key out."""
    made = [{key.replace("__", "/"): value(step) for key, value in series.items()} for step in range(1, count + 1)]
    return [{"step": i} | {k: v for k, v in row.items() if v is not None} for i, row in enumerate(made, 1)]


def loss(step: int) -> float:
    return 1 + step**-0.5 if step <= 45 else 1.149 + 0.03 * (step - 45)


def fall(step: int) -> float:
    """The best-of-n law with its peak at 9 nats, where KL is half the round."""
    ratio = math.sqrt(step / 2) / 3
    return ratio * (2 - ratio)


SICK = {
    "power_law": (SFTConfig(), {}, columns(60, loss=loss), "`loss` has stood above its power law since round"),
    "golden_signal": (
        PPOConfig(**JUDGE),
        {},
        columns(16, reward=float, objective__golden__judge=lambda step: 5.0 - abs(step - 8.0)),
        "which is not trained on, has got worse since round 8 (5 to",
    ),
    "generalisation_gap": (
        SFTConfig(),
        {},
        columns(8, loss=lambda step: 2 / step, eval__nll=lambda step: 2 / step if step < 5 else step / 8),
        "`eval/nll` has risen since round 4 (0.5 to 0.875) and is 0.589 above `loss`",
    ),
    "over_optimisation": (
        PPOConfig(),
        {},
        columns(60, reward=fall, objective__kl=lambda step: step / 2),
        "d (alpha - beta d), d = sqrt(KL), with its peak at 9 nats",
    ),
}


def test_each_alarm_has_a_case_and_may_stop() -> None:
    assert SICK.keys() == ALARMS.keys()
    assert ALARMS.keys() | {"divergence"} == STOPS
    assert not ALARMS.keys() & CHECKS.keys()


@pytest.mark.parametrize("name", SICK)
def test_an_alarm_is_one_sentence_with_a_knob_and_is_said_once(name: str) -> None:
    config, more, rows, says = SICK[name]
    ((_, sentence),) = told(rows, config, **more)
    assert sentence.startswith(f"Alarm ({name.replace('_', ' ').replace('over ', 'over-')}): ")
    assert says in sentence and sentence.endswith(".") and sentence.count(". ") == 0
    assert any(knob in sentence for knob in ("learning_rate", "kl_coef", "num_train_epochs"))


@pytest.mark.parametrize("name", SICK)
def test_it_ends_a_stage_that_says_stop_and_speaks_again_once_its_cause_has_gone(name: str) -> None:
    config, more, rows, _ = SICK[name]
    at = told(rows, config, **more)[0][0]
    warn, stop, off = (
        watcher(type(config)(**config.model_dump() | {"doctor": how}), **more) for how in ("warn", "stop", "off")
    )
    assert off is None and warn is not None and stop is not None
    assert [row["step"] for row in rows if stop(row)[1]] == [at]
    assert not any(warn(row)[1] for row in rows)
    doctor = Doctor("none", watched=watched(config))
    (signal,) = ALARMS[name](rows[:at], doctor.watched)
    for row in rows[: at - 2]:
        doctor.watch(row)
    doctor.said = {(name, signal)}
    assert doctor.watch(rows[at - 2])[0] == [] and doctor.said == set()
    assert len(doctor.watch(rows[at - 1])[0]) == 1


def healthy(step: int) -> Rows:
    """A row of a round, then of a validation, of a run that goes well, with every key that is watched."""
    better = 1 - math.exp(-step / 20)
    row = {"loss": 0.5 + step**-0.5, "nll": 0.5 + step**-0.5, "reward": better, "objective/kl": step / 4}
    row |= {"margin": better, "objective/golden/judge": better, "divergence": 0.1 + step**-0.5}
    eval_ = {"nll": 0.6 + step**-0.5, "mse": 1 - better / 2, "la_rougeL": 30 + 5 * better, "failures": 0.5 - better / 3}
    eval_ |= {"auroc": better, "auroc/other": better / 2, "loss": 0.6 + step**-0.5, "reward": better}
    return [{"step": step} | row, {"step": step} | {f"eval/{key}": value for key, value in eval_.items()}]


@pytest.mark.parametrize("stage", TRAINING)
def test_a_healthy_run_of_each_stage_is_left_alone(stage: str) -> None:
    given = JUDGE | {"teacher_name_or_path": "teacher"}
    config = STAGES[stage](**{name: value for name, value in given.items() if name in STAGES[stage].model_fields})
    rows = [row for step in range(1, 100) for row in healthy(step)]
    seen = watched(config, held_out="other")
    keys = {*seen.curves, *seen.rewards} | ({seen.gap.training, seen.gap.same} if seen.gap else set())
    keys |= {key for pair in seen.goldens for key in (pair.proxy, pair.golden)}
    assert keys and keys <= {key for row in rows for key in row}
    assert told(rows, config, held_out="other") == []


def test_what_each_stage_is_watched_for() -> None:
    assert len(TRAINING) == 13
    seen = {name: watched(STAGES[name]()) for name in TRAINING if name != "distill"} | {"distill": watched(STUDENT)}
    assert {name for name in seen if not seen[name].curves} == {"ift", "gold", "ppo", "rloo", "grpo"}
    assert {name for name in seen if seen[name].rewards} == {"ppo", "rloo", "grpo"}
    assert all(seen[name].gap for name in TRAINING), "each has a quantity that is measured on held-out rows too"
    for name in ("reward", "dpo", "modpo", "distill"):
        assert seen[name].gap == HeldOut("loss", "eval/loss")
    for name in ("ppo", "rloo", "grpo"):
        assert seen[name].gap == HeldOut("reward", "eval/reward", fixed=False)
    assert watched(RewardConfig()).goldens == ()
    assert watched(RewardConfig(contrast={})).gap == HeldOut("loss/reward", "eval/loss")
    (unseen,) = watched(RewardConfig(), held_out="too_long").goldens
    assert (unseen.proxy, unseen.golden) == ("eval/auroc", "eval/auroc/too_long")
    failures, judge = watched(PPOConfig(**JUDGE)).goldens
    assert (failures.golden, judge.golden) == ("eval/failures", "objective/golden/judge")


def test_distances_on_fixed_texts_are_told_from_their_third_evaluation_behind_a_rise_of_two_percent() -> None:
    config = DistillConfig(teacher_name_or_path="teacher", oracle_name_or_path="oracle")
    golden = [60.0, 54.0, 53.0, 54.0, 54.2, 54.0, 54.3]
    rows = [{"step": i, "eval/golden": g, "eval/proxy": 10.0 / i} for i, g in enumerate(golden, 1)]
    assert told(rows, config) == []
    more = [{"step": step, "eval/golden": 54.2, "eval/proxy": 1.0} for step in (8, 9, 10)]
    ((step, sentence),) = told([*rows, *more], config)
    assert step == 9 and "`eval/golden`, which is not trained on, has got worse since round 3 (53 to 54.2)" in sentence


@pytest.mark.parametrize("infinite", ["golden", "proxy"])
def test_where_a_distance_is_infinite_the_bounded_one_is_watched(infinite: str) -> None:
    config = DistillConfig(teacher_name_or_path="teacher", oracle_name_or_path="oracle")
    finite = {"golden": "proxy", "proxy": "golden"}[infinite]
    golden = [0.6, 0.54, 0.53, 0.55, 0.56, 0.57]
    rows = [
        {"step": i, f"eval/{finite}": 1.0 / i, "eval/golden_jsd": g, "eval/proxy_jsd": 0.1 / i}
        for i, g in enumerate(golden, 1)
    ]
    ((step, sentence),) = told(rows, config)
    assert step == 6 and "`eval/proxy_jsd` is at its best while `eval/golden_jsd`" in sentence
    both = [row | {f"eval/{infinite}": 1.0 / row["step"]} for row in rows]
    assert told(both, config) == [], "where both are finite they alone count"


def test_a_stage_that_stops_has_a_best_checkpoint() -> None:
    with pytest.raises(RecipeError, match="`metric_for_best_model: none` has none; name a metric, or set doctor"):
        SFTConfig.parse({"doctor": "stop", "metric_for_best_model": "none"}, where="sft")


def test_whole_texts_are_watched_by_their_likelihood() -> None:
    config = DistillConfig(teacher_name_or_path="teacher", divergence="sequence")
    rows = columns(9, nll=lambda n: 2.0 / n, eval__nll=lambda n: 2.0 + abs(n - 3.0))
    ((step, sentence),) = told(rows, config)
    assert step == 6 and "`nll` is at its best while `eval/nll`" in sentence


def test_a_held_out_failure_mode_that_gets_worse_is_told() -> None:
    rows = columns(6, eval__auroc=lambda n: 0.8 + n / 50, eval__auroc__other=lambda n: 0.9 - n / 20)
    ((step, sentence),) = told(rows, RewardConfig(), held_out="other")
    assert step == 4 and "`eval/auroc/other`" in sentence and "(0.85 to 0.7)" in sentence
    assert told(rows, RewardConfig()) == []


def test_a_student_that_goes_on_towards_its_teacher_and_away_from_the_references_is_told() -> None:
    rows = columns(8, divergence=lambda n: 1 / n, eval__nll=lambda n: 2.0 + 0.1 * abs(n - 4))
    ((step, sentence),) = told(rows, STUDENT)
    assert step == 7 and "`divergence` is at its best while `eval/nll`" in sentence and "(2 to 2.3)" in sentence
    assert told(columns(8, divergence=lambda n: 1 / n, eval__nll=lambda n: 2.0 + 1 / n), STUDENT) == []


def test_failures_that_rise_are_told_but_not_what_chance_does() -> None:
    def rows(rate: float) -> Rows:
        return columns(5, reward=float, eval__failures=lambda n: 0.2 if n < 3 else rate)

    assert told(rows(0.31), PPOConfig())[0][0] == 5
    assert told(rows(0.29), PPOConfig()) == []


def test_from_ten_evaluations_on_their_scatter_counts() -> None:
    pair = Watched(goldens=(Golden("reward", "objective/golden/judge", "stop"),))

    def rows(noise: float) -> Rows:
        return columns(12, reward=float, objective__golden__judge=lambda n: -0.2 * n + noise * (-1) ** n)

    assert ALARMS["golden_signal"](rows(0.0), pair)
    assert ALARMS["golden_signal"](rows(0.0)[:10], pair)
    assert not ALARMS["golden_signal"](rows(0.0)[:9], pair), "how much is chance is not known yet"
    assert not ALARMS["golden_signal"](rows(1.0), pair)


def test_a_held_out_loss_that_wavers_is_no_gap() -> None:
    def rows(noise: float) -> Rows:
        wave = [0.0, noise, noise, noise] * 4
        return columns(16, loss=lambda n: 2 / n, eval__nll=lambda n: 1.0 + wave[n - 1])

    seen = Watched(gap=HeldOut("loss", "eval/nll"))
    assert not ALARMS["generalisation_gap"](rows(0.1), seen)
    assert ALARMS["generalisation_gap"](rows(0.1)[:4], seen)


def test_a_reward_that_falls_on_held_out_prompts_alone_is_told_once_chance_is_known() -> None:
    """Outputs of held-out prompts change with the policy, so that a few of them say nothing."""

    def rows(after: float) -> Rows:
        return columns(14, reward=float, eval__reward=lambda n: float(n) if n < 7 else 6 - after * (n - 6))

    ((step, sentence),) = told(rows(0.5), PPOConfig())
    assert step == 10 and "`eval/reward` has fallen since round 6 (6 to 4) and is 6 below `reward` of" in sentence
    assert told(rows(-1.0), PPOConfig()) == []


def test_evaluations_pair_a_golden_value_with_the_mean_of_the_proxy_since_the_last() -> None:
    rows: Rows = [{"step": 0, "g": 9.0}, {"step": 1, "p": 1.0}, {"step": 2, "p": 3.0}, {"step": 2, "g": 8.0}]
    rows += [{"step": 3, "p": None}, {"step": 3, "g": 7.0}, {"step": 4, "p": 5.0, "g": 6.0}]
    assert evaluations(rows, "p", "g") == ([2, 4], [2.0, 5.0], [8.0, 6.0])
    assert evaluations([], "p", "g") == ([], [], [])


def test_a_validation_is_as_far_away_as_the_rollout_before_it() -> None:
    rows: Rows = [{"step": 0, "eval/m": 1.0}, {"step": 1, "objective/kl": 2.0, "reward": 3.0}]
    rows += [{"step": 1, "eval/m": 4.0}, {"step": 2, "objective/kl": None, "reward": 5.0}]
    assert distances(rows, "eval/m") == ([0.0, 2.0], [1.0, 4.0])
    assert distances(rows, "reward") == ([2.0, 2.0], [3.0, 5.0])


def test_rewards_of_stored_text_are_not_what_the_policy_earns() -> None:
    """An offline method logs the reward of its batch, which rises by chance while the metric falls."""
    rows = columns(3, reward=float, eval__la_rougeL=lambda step: 30.0 - step)
    assert CHECKS["divergence"](rows, "la_rougeL") is None
    assert CHECKS["divergence"]([row | {"objective/kl": 1.0} for row in rows], "la_rougeL")


def test_a_stage_that_is_ended_is_validated_first_and_its_best_round_is_kept(tmp_path: Any) -> None:
    trunk, kept = trunk_of(), {}
    note = snapshots(trunk, kept)
    made = plan(
        tmp_path,
        trunk,
        CONFIG,
        rounds=6,
        validate=lambda number: note(number) | {"score": float(number)},
        watch=lambda row: ([], row["step"] == 3),
        every=5,
    )
    at = fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert at.stopped and at.round == at.best_round == 3
    assert [row["step"] for row in rows_of(tmp_path) if "eval/score" in row] == [3]
    assert same(dict(trunk.named_parameters()), kept[3])


def test_a_golden_reward_without_weight_is_refused() -> None:
    with pytest.raises(RecipeError, match="golden reward `concise` has the weight 0"):
        PPOConfig.parse({"golden": {"concise": 0}}, where="here")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_validation_knows_the_likelihood_of_its_references(tmp_path: Any, name: str) -> None:
    run = run_recipe(recipe(tmp_path, name, [{"sft": {**SMALL, "learning_rate": 3e-3}}]), tmp_path / "run")
    rows = log(run, "01-sft")
    first, last = (row["eval/nll"] for row in rows if "eval/nll" in row)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert 0 < last < first
    assert first == pytest.approx(losses[1], rel=0.2), "a random model is as surprised by the ones as by the others"
