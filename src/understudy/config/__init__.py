"""What was asked: the recipe as closed, frozen models. The only home of pydantic."""
