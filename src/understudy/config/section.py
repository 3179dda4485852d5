"""What every part of a recipe has in common."""

from pydantic import BaseModel, ConfigDict, Discriminator


class Section(BaseModel):
    """A part of a recipe: closed (unknown keys are errors) and frozen."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, populate_by_name=True
    )


def variant_by_key(*keys: str) -> Discriminator:
    """Tells the variants of a union apart by which one of `keys` a section has, raw or built."""

    def tag(section: object) -> str | None:
        has = section.__contains__ if isinstance(section, dict) else lambda key: hasattr(section, key)
        given = [key for key in keys if has(key)]
        return given[0] if len(given) == 1 else None

    return Discriminator(
        tag,
        custom_error_type="no_variant",
        custom_error_message=f"needs exactly one of the keys {', '.join(keys)}",
    )
