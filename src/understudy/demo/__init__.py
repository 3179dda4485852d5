"""The embedded task: weather forecasts as records, short bulletins as targets, a checker of facts, and a recipe."""

from pathlib import Path

RECIPE = Path(__file__).with_name("demo.yaml")
"""The recipe of `understudy demo`."""
