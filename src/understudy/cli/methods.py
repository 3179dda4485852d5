"""Lists and explains the distillation methods."""

import yaml

from understudy.config.presets import PRESETS, preset_named


def methods_listed() -> str:
    """A line for each method: its name and its meaning."""
    width = max(map(len, PRESETS))
    return "".join(f"{name:<{width}}  {preset.meaning}\n" for name, preset in PRESETS.items())


def method_explained(method: str) -> str:
    """A method's meaning, its source, and the settings it provides.

    Raises:
        ConfigError: if there is no such method.
    """
    preset = preset_named(method)
    settings = yaml.safe_dump(preset.defaults(), sort_keys=False, default_flow_style=None)
    return f"{method}: {preset.meaning}\nSource: {preset.source}\n\n{settings}"
