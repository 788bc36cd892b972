"""How fast Migrate is, beside plain TCP in the same run: `python -m benchmarks`."""
