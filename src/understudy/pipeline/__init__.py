"""From a recipe to an evaluated student: the stages, their order, and what is done with a finished run."""
