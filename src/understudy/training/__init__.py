"""How a network learns: one loop over a mixture of targets, resumable after any kill.

Knows networks, objectives and token ids; no recipe, no metrics, no text.
"""
