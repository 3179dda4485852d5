"""The parts of `benchmarks/trl_comparison.py`: TRL's trainers on our networks and texts, and the reading of curves."""
