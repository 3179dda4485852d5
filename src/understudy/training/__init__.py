"""Training: one loop over a mixture of targets, resumable after an interruption.

This package handles networks, objectives and token ids. It does not depend on the recipe, on metrics or on text.
"""
