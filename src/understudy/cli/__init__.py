"""The command line: commands, printed results, progress display, exit codes. Only this package prints."""

from understudy.cli.app import main

__all__ = ["main"]
