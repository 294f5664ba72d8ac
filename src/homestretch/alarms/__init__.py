"""Alarms over series of a run: when a proxy stops meaning what it stands for. Arithmetic on numbers; no torch."""
