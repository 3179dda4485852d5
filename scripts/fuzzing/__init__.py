"""Fuzzing of everything that understudy reads; `scripts/fuzz.py` runs it."""
