"""The base class of all config sections."""

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Discriminator, model_validator


class Section(BaseModel):
    """A part of a recipe: closed (unknown keys are errors) and frozen."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, populate_by_name=True
    )

    def conflicts(self) -> Iterator[str]:
        """Yields a message for each pair of settings of this section that cannot be used together."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_conflicts(self) -> Self:
        # pydantic keeps one error per validator: all conflicts go into one error, a line each.
        if found := list(self.conflicts()):
            raise ValueError("\n".join(found))
        return self


def variant_by_key(*keys: str) -> Discriminator:
    """Selects the variant of a union by which one of `keys` a section has, before or after validation."""

    def tag(section: object) -> str | None:
        has = section.__contains__ if isinstance(section, dict) else lambda key: hasattr(section, key)
        given = [key for key in keys if has(key)]
        return given[0] if len(given) == 1 else None

    return Discriminator(
        tag,
        custom_error_type="no_variant",
        custom_error_message=f"needs exactly one of the keys {', '.join(keys)}",
    )
