"""Speaks with people: commands, progress bars, exit codes. The only room that prints."""

from understudy.cli.app import main

__all__ = ["main"]
