"""The command line: one file a command, each named as the command it is."""

from autopeft.cli.app import main

__all__ = ["main"]
