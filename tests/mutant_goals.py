"""Mistakes in goal-conditioned reward models and in what reads along while texts are made (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "ops/contrast",
        "test_ops_contrast",
        ("logsigmoid(-negative_BKN / temperature)", "logsigmoid(negative_BKN / temperature)"),
        ("logsigmoid(positive_BKN / temperature)", "logsigmoid(positive_BKN)"),
        ("return -log_near.mean(1) - log_far.mean(1)", "return -log_near.mean(1)"),
        ("log_near.exp().mean(1).log()", "log_near.mean(1)"),
        ("normalize(source_BKD.to(wide), dim=-1) @", "source_BKD.to(wide) @"),
    ),
    *of(
        "ops/state_sampling",
        "test_ops_contrast",
        ("(1 - percentile) * uniform_BK", "uniform_BK"),
        ("* (length_B1 - 1) + 1", "* length_B1 + 1"),
        (".sort(dim=-1).values", ""),
        ("places(uniform_BK4[..., 3], rejected_length_B", "places(uniform_BK4[..., 3], chosen_length_B"),
    ),
    *of(
        "algorithms/reward_model",
        "test_goal_reward",
        ("self.contrast.weight * contrast_B", "contrast_B"),
        ("states(chosen_BSD, 1), states(rejected_BSD, 3)", "states(chosen_BSD, 1), states(chosen_BSD, 3)"),
        ("goals[0].detach(), goals[1].detach()", "goals"),
        ("matched(positive_BKN), matched(negative_BKN)", "positive_BKN, negative_BKN"),
    ),
    *of(
        "rewards/goal",
        "test_goal_reward",
        ("to_goal(h_bSD[:, 1:], goal_D)", "to_goal(h_bSD[:, :-1], goal_D)"),
        ("(total_D / len(rows)).float()", "total_D.float()"),
        ('.get("model") != weights_key(folder)', '.get("model") is None'),
        ("place_B1 = batch.length_B[:, None]", "place_B1 = batch.length_B[:, None] - 1"),
        ("if goal.shape != (size,):", "if False:"),
        ("except SafetensorError as error:", "except KeyError as error:"),
        (".squeeze(-1).clamp(-1, 1)", ".squeeze(-1)"),
    ),
    *of(
        "verbs/goal",
        "test_goal_filter",
        ('else row["text"]', "else e.references[0]"),
        ("terminated=ended, **how", "terminated=True, **how"),
        ("model.goal(config.give_up_goal)", "model.goal()"),
        ("patiences=PATIENCES if patience is None else [patience]", "patiences=[patience or 1]"),
        ("by=by, every=EVERY) for", "by=by) for"),
        ("if not right & choosing:", "if False:"),
    ),
    *of("data/sources", "test_goal_filter", ('row.get("references") == []', "False")),
    *of("cli/reward", "test_goal_filter", ("rounding=ROUND_FLOOR", 'rounding="ROUND_HALF_EVEN"')),
    *of("config/decoding", "test_goal_filter", ("self.top_k >= CANDIDATES", "self.top_k > CANDIDATES")),
    *of(
        "training/context",
        "test_goal_verbs",
        ("reward.tokenizer.get_vocab() != self.tokenizer.get_vocab()", "False"),
    ),
    *of(
        "generation/engine",
        "test_goal_decoding",
        ("steering is None or (watch and watch.policy is steering.policy)", "steering is None"),
    ),
    *of(
        "metrics/voting",
        "test_voting",
        ("under + 1 if value < self.threshold else 0", "under + 1 if value < self.threshold else under"),
        ("n - stop for n, stop", "stop for n, stop"),
        ("standing or list(range(len(answers)))", "standing"),
        ("(place // every + 1) * every", "place // every * every"),
        ("return max(filters,", "return max(filters[::-1],"),
        ("math.ceil(recall * len(lows) - 1e-9) - 1", "math.floor(recall * len(lows)) - 1"),
        ("max(judged[i : i + self.patience])", "min(judged[i : i + self.patience])"),
    ),
    *of("metrics/partial", "test_voting", ("math.floor(share * tokens + 1e-9) - 1", "math.floor(share * tokens)")),
    *of(
        "ops/returns", "test_ops_returns", ("potential_BS[:, 1:].masked_fill(~following_BT, 0)", "potential_BS[:, 1:]")
    ),
    *of("algorithms/ppo", "test_goal_shaping", ("if models.potential is not None:", "if False:")),
    *of(
        "generation/watch",
        "test_goal_decoding",
        ("(self.judged_B > rule.skip)", "(self.judged_B > 0)"),
        ("(self.under_B + 1) * (q_B < rule.threshold)", "self.under_B + (q_B < rule.threshold)"),
        ("self.under_B >= rule.patience", "self.under_B > rule.patience"),
        ("return self.fallen_B & due_B", "return self.fallen_B"),
    ),
    *of(
        "generation/steering",
        "test_goal_decoding",
        ("logp_BK + bonus_BK", "logp_BK"),
    ),
    *of("generation/beside", "test_goal_decoding", ('(*self.COLUMNS, "waiting_BN", "waits_BN")', "self.COLUMNS")),
    *of(
        "policies/branches",
        "test_goal_decoding test_branches",
        ("cache.crop(-K)", "pass"),
        ("near_BNL | itself_NL", "near_BNL"),
    ),
    *of(
        "generation/lines",
        "test_lines",
        ("kept + (1 - decay) * logp", "kept + logp"),
        ("key=lambda t: -t.score", "key=lambda t: t.score"),
        ('int(beam.reads == "line")', "0"),
        ("(line[:1], line[1:])", "(line[:1], line[1:] or line[:1])"),
    ),
]
