"""Language models behind one contract. This is the only package that knows architectures."""
