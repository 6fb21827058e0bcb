"""Bad input, searched for by coverage: what `benchmarks/fuzz.py` feeds, and the inputs that it starts from."""
