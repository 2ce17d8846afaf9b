"""Gathers the commands, and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from autopeft.errors import AutopeftError, InvalidInput
from autopeft.registry import COMMANDS

# In the order of a new user's path; a command that is not named here comes after these.
ORDER = (
    *("search", "submit", "watch", "list", "show", "front", "evidence", "evaluations", "cancel", "resume"),
    *("export", "train", "predict", "push", "dashboard", "doctor"),
)
INTERRUPTED = 130


def make_app() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(
        name="autopeft",
        help="Find the PEFT configuration to train: a Pareto front of trainable parameters versus score.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        if debug:
            os.environ["AUTOPEFT_DEBUG"] = "1"

    later = [name for name in COMMANDS.names if name not in ORDER]
    for name in (*ORDER, *later):
        module = importlib.import_module(f"autopeft.cli.{name}")
        if hasattr(module, "SUBCOMMANDS"):
            app.add_typer(_group(module.command, module.SUBCOMMANDS), name=name)
        else:
            app.command(name=name, help=_help(module.command))(module.command)
    return app


def _group(command: Callable[..., None], subcommands: dict[str, Callable[..., None]]) -> typer.Typer:
    """Return a command that works by itself, with sub-commands below it."""
    group = typer.Typer()
    group.callback(invoke_without_command=True, help=_help(command))(command)
    for name, subcommand in subcommands.items():
        group.command(name=name, help=_help(subcommand))(subcommand)
    return group


def _help(command: Callable[..., None]) -> str:
    # Typer keeps the line breaks of all paragraphs but the first, and reads [square brackets] as markup.
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        try:
            make_app()()
        finally:
            print(end="", flush=True)  # now, while a reader that has gone can still be met below
    except InvalidInput as error:
        _fail(error, "\n".join(f"error: {problem}" for problem in error.problems), error.exit_code)
    except AutopeftError as error:
        _fail(error, f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _fail(error, _explain(error), 1)


def _explain(error: Exception) -> str:
    from autopeft.database import said

    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}"
    if (reason := said(error)) is not None:
        return f"error: the database does not answer: {reason}\nWhat was finished is kept."
    return f"error: {type(error).__name__}: {error}\nThis is a fault of autopeft; --debug shows where."


def _fail(error: Exception, message: str, code: int) -> None:
    if os.environ.get("AUTOPEFT_DEBUG"):
        raise error
    print(message, file=sys.stderr)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(importlib.metadata.version("autopeft"))
        raise typer.Exit
