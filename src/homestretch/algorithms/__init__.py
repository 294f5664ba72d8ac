"""Training methods: one paper, one file. A method knows tensors and protocols, not models, loops or files."""
