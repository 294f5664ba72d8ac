"""Mistakes in named rewards: functions, classifiers, their cache and their sums (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "rewards/functions",
        "test_reward_functions",
        ("if len(found) != count", "if False"),
        ("if not math.isfinite(number)", "if False"),
        ("math.nan if isinstance(value, str) else float(value)", "float(value)"),
        ("return [None if value is None else", "return [0.0 if value is None else"),
        ("if key in self.takes}", "if key not in self.takes}"),
        ("hashlib.blake2b(file.read_bytes())", "hashlib.blake2b(place.encode())"),
        ("    sys.modules[spec.name] = module", "    assert module"),
    ),
    *of(
        "rewards/named",
        "test_reward_functions",
        ("reward_N.sigmoid() if term.sigmoid else reward_N", "reward_N"),
        ("return term.weight * (", "return ("),
        ("if term.weight and name != MODEL", "if name != MODEL"),
        ("[e.columns.get(name) for e in examples]", "[e.columns.get(name) for e in examples[:1]]"),
        ('"document": [e.source', '"document": [e.prompt'),
    ),
    *of(
        "rewards/named",
        "test_rules",
        ("ids[mask.bool()]", "ids"),
    ),
    *of(
        "rewards/cache",
        "test_reward_cache",
        ("if text not in known}", "if True}"),
        ("if t in wanted and digest == _digest(scorer, t, reward)", "if t in wanted"),
        ("            remember(scorer, new)", "            pass"),
        ('hashlib.file_digest(handle, "blake2b").hexdigest()', "file.stat().st_size"),
    ),
    *of(
        "rewards/sequence_classifier",
        "test_sequence_classifier",
        ("others_BC[:, label] = -torch.inf", "others_BC[:, label] = 0"),
        ("logits_BC[:, label] - others_BC", "others_BC"),
        ('tokenizer.truncation_side = "left"', 'tokenizer.truncation_side = "right"'),
        ('if found["missing_keys"]', "if False"),
        ("if limit is not None and alone > limit", "if False"),
        ("(text, completion) if self.reads", "(completion, text) if self.reads"),
        ("                rewards[i] = reward", "                rewards[part[0]] = reward"),
    ),
    *of(
        "config/rewards",
        "test_reward_config",
        ("if len(self.sources) > 1", "if False"),
        ("if name in RULES and term.weight < 0", "if False"),
        ("if not built_in and not term.sources", "if False"),
        ("if built_in and term.sources", "if False"),
        ("if terms and not any(", "if terms and any("),
        ("        if name == MODEL and term.sigmoid:", "        if False:"),
        ("        if term.column is not None:", "        if False:"),
        ("        if name in LOGGED:", "        if False:"),
    ),
    *of(
        "rewards/features",
        "test_features",
        ("for name in sorted(config.features):", "for name in config.features:"),
        ("(column - term.low) / (term.high - term.low)", "(column - term.low) / term.high"),
        ("if depth == 0 and hidden_sizes:", "if depth < len(hidden_sizes):"),
        ("value <= term.high + SLACK", "value <= 2 * term.high + SLACK"),
    ),
    *of(
        "rewards/feature_fit",
        "test_features",
        (
            "pairwise_reward_loss(net(chosen_NF[rows]), net(rejected_NF[rows]))",
            "pairwise_reward_loss(net(rejected_NF[rows]), net(chosen_NF[rows]))",
        ),
        ("loss + config.ridge * sum", "loss + 0 * sum"),
        ("if not is_constant(net", "if True or not is_constant(net"),
        ("right + tied / 2", "right + tied"),
    ),
    *of(
        "rewards/feature_explain",
        "test_features",
        ("both_MF[:, column] + STEP", "both_MF[:, column] - STEP"),
        ("_put(both_MF, column, both_MF[:, column].mean())", "both_MF"),
    ),
    *of("training/needs", "test_features", ("and any(f.column for f in features)", "and False")),
    *of(
        "training/output_scores",
        "test_output_scores",
        ("logp_B(policy) - logp_B(", "-logp_B(policy) + logp_B("),
        (".weight * value for name", ".weight + value for name"),
    ),
    *of("training/pipeline", "test_pipeline", (", sorted(e.columns.items())))", "))")),
]
