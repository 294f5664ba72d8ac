"""Text from policies: sampling as pure functions of logits, the decode loop, and rollouts."""
