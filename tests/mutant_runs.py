"""Mistakes in what surrounds a run: trackers, uploads, given pairs, what is said (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "training/tracking",
        "test_tracking",
        ('if name != "none" and', "if False and"),
    ),
    *of(
        "training/context",
        "test_tracking",
        ("            accelerator.init_trackers(", "            str("),
    ),
    *of(
        "training/publish",
        "test_publish",
        ("if get_token() is None:", "if False:"),
        ("repo_id=repo, folder_path=model", 'repo_id=repo, folder_path=model, ignore_patterns="*.md"'),
        ("create_repo(name, exist_ok=True).repo_id", "create_repo(name, exist_ok=True).repo_name"),
    ),
    *of(
        "training/stages/negatives",
        "test_given_pairs",
        ("for name in named if name in e.columns", "for name in named[:1]"),
        ('        if "rejected" in e.columns\n', ""),
    ),
    *of(
        "training/stages/reward",
        "test_given_pairs",
        ("first.setdefault(prompt_text(row), row.id)", "first.setdefault(row.id, row.id)"),
    ),
    *of(
        "training/needs",
        "test_given_pairs",
        ('stage.kind == "negatives" or ', ""),
    ),
    *of(
        "training/pipeline",
        "test_said",
        ("    say(splits.description)\n", ""),
        ("sum(row.truncated for row in tokens)", "sum(not row.truncated for row in tokens)"),
    ),
    *of(
        "progress",
        "test_progress",
        ("_Bar.live.console.print(sentence", "print(sentence"),
    ),
]
