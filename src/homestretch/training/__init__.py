"""One loop for every method, exact checkpoints, and the stages that fill a run folder."""
