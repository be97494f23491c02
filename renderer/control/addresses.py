"""Table of OSC addresses, generated from the key table, the settings and the mood axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from models.api import MOOD_AXES
from renderer.actions import Change, Command

PREFIX = "/flowbrush"
SETTINGS = ("prompt", "strength", "seed", "steps", "look", "model", "lora_scale")
WORDS = ("prompt", "look", "model")  # text settings
DIALOGS = ("color", "open", "prompt", "back", "quit")  # rows that need a user at the window


@dataclass(frozen=True)
class Address:
    """An OSC address. path: its OSC path. takes: type of its argument, or "nothing". help: one line."""

    path: str
    name: str  # of the setting, or of the row in the key table
    takes: Literal["nothing", "text", "number"]
    help: str


def addresses(rows: Iterable[tuple[str, str]], *, more: Iterable[Address] = ()) -> dict[str, Address]:
    """Build the table, keyed by path. rows: (name, help) of the key table. more: additional addresses."""
    table: dict[str, Address] = {}
    for name, words in rows:
        if name not in DIALOGS:
            path = f"{PREFIX}/{name.replace('.', '/')}"
            table.setdefault(path, Address(path, name, "nothing", words))
    for name in SETTINGS:
        path = f"{PREFIX}/{name}"
        takes = "text" if name in WORDS else "number"
        table[path] = Address(path, name, takes, f"set {name.replace('_', ' ')}")
    for axis in MOOD_AXES:
        path = f"{PREFIX}/mood/{axis.name}"
        table[path] = Address(path, f"mood.{axis.name}", "number", f"{axis.low} (0) to {axis.high} (1)")
    for address in more:
        table[address.path] = address
    return table


def action_of(address: Address, arguments: tuple) -> Change | Command | str:
    """Convert a message to a Change of a setting, a Command, or the name of a row in the key table.

    A row is run for a message without an argument or with a nonzero one, since buttons send 1 and 0.
    Raises ValueError with one line if the argument is invalid.
    """
    if address.takes == "nothing":
        pressed = not arguments or bool(arguments[0])
        return address.name if pressed else ""
    if not arguments:
        raise ValueError(f"{address.path} wants a {'word' if address.takes == 'text' else 'number'}")
    value = arguments[0]
    if address.takes == "text":
        return Change(address.name, str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{address.path} wants a number, not {value!r}")
    return Change(address.name, value)
