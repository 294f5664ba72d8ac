"""Mistakes in comparisons: budgets, methods, ranks, costs, advice (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "training/course",
        "test_course",
        ('until or {"round": rounds}', '{"round": rounds}'),
        ("return max(spent", "return min(spent"),
        ("done / share if until and done else rounds", "rounds"),
        ("done / share if until and done else rounds", "done / share if until else rounds"),
        ("int(PARTS * now) > int(PARTS * before)", "int(PARTS * now) >= int(PARTS * before)"),
    ),
    *of(
        "training/loop",
        "test_course",
        ("        self.at.samples += len(batch)\n", ""),
        ("plan.config.eval_steps if self.until else", "plan.config.eval_every(plan.rounds) if self.until else"),
        ("share >= 1 or (ends_a_part", "(ends_a_part"),
        ("total_steps=rounds + 1", "total_steps=self.plan.rounds + 1"),
    ),
    *of(
        "config/methods",
        "test_methods",
        ("_policy_stages(other)[:-1]", "_policy_stages(other)"),
        ("_policy_stages(recipe)[-1]", "_policy_stages(recipe)[0]"),
        ("if keys.count(key) > 1", "if keys.count(key) > 2"),
        ("recipe.stages[: index + 1]", "recipe.stages[:index]"),
        ("return first in kinds[name] or not any", "return True or not any"),
        ('{"sampled": False, "baseline": False}', '{"sampled": True, "baseline": False}'),
        ("int(number) == 0", "int(number) < 0"),
        ("if len(named) < 2", "if len(named) < 1"),
        ("limited=stage.name", "limited=None"),
    ),
    *of(
        "metrics/ranking",
        "test_ranking",
        ("np.argsort(-value_M", "np.argsort(value_M"),
        (" - tie\n", "\n"),
        ("leads_RM / leads_RM.sum(1, keepdims=True)", "leads_RM.astype(float)"),
        ("<= tie, 0.5,", "<= tie, 1.0,"),
        ("draws_RM = draws_RM[:, order]", "draws_RM = draws_RM + 0"),
        ("above_RN.prod(1)", "above_RN.min(1)"),
    ),
    *of(
        "metrics/compare",
        "test_ranking",
        ("if all(prompt in other for other in places)", "if prompt in places[-1]"),
        ("sign, n = (1 if better else -1)", "sign, n = (1)"),
        ("not np.isnan(c[i, 0])", "True"),
    ),
    *of(
        "verbs/costs",
        "test_run_costs",
        ('if "num_tokens" in row', 'if "nothing" in row'),
        ("max(memory, default=None)", "min(memory, default=None)"),
        ('if name.endswith("_raw"):', "if True:"),
        ("cost([[folder] for folder in made[about.name]])", "cost(list(zip(*made.values(), strict=True)))"),
    ),
    *of(
        "policies/memory",
        "test_run_costs",
        ('write_text("5")', 'write_text("1")'),
        ("return 1024 * int(next", "return int(next"),
    ),
    *of(
        "report/advice",
        "test_comparison_page",
        ('outcome(leads[other]) != "better"', 'outcome(leads[other]) == "worse"'),
        ("cheapest = min(", "cheapest = max("),
        ("return method.total.seconds if", "return method.own.seconds if"),
    ),
    *of(
        "verbs/estimates",
        "test_verbs",
        ("min((n / prices[unit]", "max((n / prices[unit]"),
        ("default=own", "default=0"),
    ),
    *of(
        "training/context",
        "test_compare",
        ("return first.inputs == second.inputs", "return True"),
        ("return a == b\n", "return False\n"),
    ),
    *of(
        "training/pipeline",
        "test_compare",
        ('record.status == "done" and record.inputs.get("hash") == inputs:', "False:"),
    ),
    *of("verbs/compare", "test_compare", ("if method.name not in errors:", "if True:")),
]
