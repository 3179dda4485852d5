"""Turn an expensive text generator into a small, fast model for one task, and prove it."""
