"""Build a command's options from a frozen dataclass, and print its report as a table or as JSON."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import math
from typing import Annotated, Any, get_type_hints

import typer

from renderer.actions import InputError

WrongUsage: Any = typer.BadParameter.__base__  # click.UsageError of typer's own click


def options_of(settings: type):
    """Decorator: make a command's options from a frozen dataclass; the function receives one instance."""

    def wrap(function):
        def command(**values):
            for name, value in values.items():
                if isinstance(value, float) and math.isnan(value):  # NaN passes the range checks of options
                    raise typer.BadParameter("nan is not a number", param_hint=f"--{name.replace('_', '-')}")
            return function(settings(**values))

        parameters = []
        hints = get_type_hints(settings)
        for field in dataclasses.fields(settings):
            limits = {k: v for k, v in field.metadata.items() if k in ("min", "max", "help")}
            kind = typer.Argument if field.metadata.get("argument") else typer.Option
            hint = Annotated[hints[field.name], kind(*field.metadata.get("flags", ()), **limits)]
            default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
                )
            )
        command.__signature__ = inspect.Signature(parameters)
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return wrap


def check_installed(modules: tuple[str, ...], extra: str) -> None:
    """Raise InputError with the install command of an extra if one of its modules is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'this needs {" and ".join(missing)}: pip install "flowbrush[{extra}]"')


def one_line(error: Any) -> str:
    """Error as one line; for wrong usage, with a pointer to the help."""
    if not isinstance(error, WrongUsage):
        return str(error)
    words = " ".join(error.format_message().split())
    command = error.ctx.command_path if error.ctx is not None else "flowbrush"
    return f"{words.removesuffix('.')}; see {command} --help"


def report(fields: dict, as_json: bool) -> None:
    """Print a report as one JSON object or as a table."""
    if as_json:
        print(json.dumps(fields))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in fields.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name, shown)
    Console().print(table)
