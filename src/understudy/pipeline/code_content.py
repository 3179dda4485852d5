"""Code that a recipe names, as content: its source is in the keys of stages, and where it lies is not."""

from pathlib import Path

from understudy.custom_code import absolute_spec, source_digest
from understudy.store import Content


def code_content(spec: str) -> Content:
    """An object of the user's own code: the source of its file and its name are the digest. Nothing is imported.

    Raises:
        ConfigError: if the spec has another form, or there is no such module or file.
    """
    return Content(f"{source_digest(spec)}:{spec.rpartition(':')[2]}", absolute_spec(spec, Path.cwd()))
