"""One HTML page about a run, or about several side by side, made from the plain files of their folders.

`page.write_report` writes the page, `table.arms_table` gives the table of arms for a terminal or a README, and
`verdict.verdict` says in a sentence what came out. Nothing here trains, and nothing here loads torch.
"""
