"""This package defines recipes, studies and endpoint settings as closed, frozen models. Only it uses pydantic."""
