"""Data: rows of any supported format become examples, then token ids, then batches."""
