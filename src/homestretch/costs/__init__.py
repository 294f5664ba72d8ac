"""What a stage costs: memory, time, and what its processes tell each other. Arithmetic on sizes; no torch."""
