"""From a recipe to a proven student: the stages, their order, and what is done with a finished run."""
