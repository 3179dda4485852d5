"""Serving: a system of a finished run answers new inputs, as it was evaluated."""
