"""Settings: strict, frozen, and free of torch, so that a typo is refused before anything heavy is imported."""
