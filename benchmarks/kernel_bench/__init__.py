"""Every kernel in many cells beside tuned peers, and verdicts on targets: what `benchmarks/bench.py` runs."""
