"""Keyboard shortcuts: the table of keys and actions, and the matching of key presses.

Keys are matched by the symbols of the keyboard layout: by the typed character if it is not a letter
(AltGr+8 is "[" on a German keyboard), otherwise by the key's own symbol and exactly the modifiers held.
Unshifted keys of the digit row are digits on every layout, even if they type other characters (AZERTY).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pygame
from platformdirs import user_config_path

from models.api import MATERIALS
from renderer.actions import InputError

MAC = sys.platform == "darwin"
NAMED = {
    pygame.K_RETURN: "Enter",
    pygame.K_ESCAPE: "Esc",
    pygame.K_DELETE: "Del",
    pygame.K_BACKSPACE: "Backspace",
    pygame.K_TAB: "Tab",
    pygame.K_SPACE: "Space",
    pygame.K_UP: "Up",
    pygame.K_DOWN: "Down",
    pygame.K_LEFT: "Left",
    pygame.K_RIGHT: "Right",
    pygame.K_HOME: "Home",
    pygame.K_END: "End",
    pygame.K_PAGEUP: "PageUp",
    pygame.K_PAGEDOWN: "PageDown",
    pygame.K_INSERT: "Ins",
    **{key: f"F{number}" for number, key in enumerate(range(pygame.K_F1, pygame.K_F12 + 1), 1)},
}
KEYPAD = {
    **{key: str(digit) for digit, key in enumerate(range(pygame.K_KP_1, pygame.K_KP_9 + 1), 1)},
    pygame.K_KP_0: "0",
    pygame.K_KP_ENTER: "Enter",
    pygame.K_KP_PLUS: "+",
    pygame.K_KP_MINUS: "-",
}
DIGIT_ROW = {
    **{code: str(digit) for digit, code in enumerate(range(pygame.KSCAN_1, pygame.KSCAN_9 + 1), 1)},
    pygame.KSCAN_0: "0",
}
MODIFIERS = ("Ctrl", "Alt", "Shift")


class Shortcut(NamedTuple):
    """A key combination. symbol: lower-case character or name ("F1"). modifiers: in MODIFIERS' order."""

    symbol: str
    modifiers: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Shortcut:
        """Parse a label such as "Ctrl+Shift+Z" or "Ctrl++". Raises ValueError for other text."""
        *words, symbol = text.split("+")
        if text == "+" or text.endswith("++"):  # the "+" key
            words, symbol = words[:-1], "+"
        names = {name.lower(): name for name in NAMED.values()}
        symbol = names.get(symbol.lower(), symbol.lower())
        held = [word.capitalize() for word in words]
        if not symbol or symbol.isspace() or (len(symbol) > 1 and symbol not in NAMED.values()):
            raise ValueError(f"{text!r} is no key: write it as Ctrl+Shift+Z, F5 or [")
        if not set(held) <= set(MODIFIERS):
            raise ValueError(f"{text!r} has a modifier other than {', '.join(MODIFIERS)}")
        return cls(symbol, tuple(name for name in MODIFIERS if name in held))

    @property
    def label(self) -> str:
        """Text in help and tooltips, such as Ctrl+Shift+Z; on macOS, Cmd replaces Ctrl."""
        held = ("Cmd" if MAC and name == "Ctrl" else name for name in self.modifiers)
        return "+".join([*held, self.symbol.upper() if len(self.symbol) == 1 else self.symbol])


class Key(NamedTuple):
    """One row of the key table: action name, keys, help text and group.

    repeats: the action repeats while the key is held.
    """

    name: str
    keys: tuple[str, ...]
    help: str
    group: str
    repeats: bool = False


PALETTE_KEYS = "1234567890-="
KEYS = (
    Key("tool.brush", ("B",), "brush", "tools"),
    Key("tool.eraser", ("E",), "eraser, back to blank paper", "tools"),
    Key("tool.line", ("V", "L"), "straight line", "tools"),
    Key("tool.fill", ("F",), "fill", "tools"),
    Key("tool.pick", ("P",), "pick a colour", "tools"),
    Key("size.less", ("[",), "smaller brush", "tools", True),
    Key("size.more", ("]",), "larger brush", "tools", True),
    Key("hardness.less", ("Shift+[", "{"), "softer brush", "tools", True),
    Key("hardness.more", ("Shift+]", "}"), "harder brush", "tools", True),
    Key("opacity.less", ("I",), "less opacity", "tools", True),
    Key("opacity.more", ("O",), "more opacity", "tools", True),
    Key("tolerance.less", ("T",), "fill: less tolerance", "tools", True),
    Key("tolerance.more", ("Shift+T",), "fill: more tolerance", "tools", True),
    Key("color", ("C",), "free colour", "tools"),
    Key("stabilizer", ("S",), "stabilizer", "stroke"),
    Key("symmetry", ("X",), "symmetry", "stroke"),
    Key("dynamics", ("D",), "what pressure drives", "stroke"),
    *(
        Key(f"material.{at}", (key,), material.name, "palette")
        for at, (key, material) in enumerate(zip(PALETTE_KEYS, MATERIALS, strict=True))
    ),
    Key("undo", ("Ctrl+Z",), "undo", "paper", True),
    Key("redo", ("Ctrl+Shift+Z", "Ctrl+Y"), "redo", "paper", True),
    Key("clear", ("Del",), "clear the paper", "paper"),
    Key("open", ("Ctrl+O",), "open an image as paper", "paper"),
    Key("save", ("Ctrl+S",), "save picture and paper", "paper"),
    Key("layers", ("Y",), "layers on or off", "layers"),
    Key("layer.add", ("Ins",), "new layer", "layers"),
    Key("layer.duplicate", ("Ctrl+J",), "duplicate the layer", "layers"),
    Key("layer.merge", ("Ctrl+E",), "merge with the layer below", "layers"),
    Key("layer.delete", ("Shift+Del",), "delete the layer", "layers"),
    Key("layer.above", ("PageUp",), "layer above", "layers"),
    Key("layer.below", ("PageDown",), "layer below", "layers"),
    Key("layer.up", ("Ctrl+PageUp",), "move the layer up", "layers"),
    Key("layer.down", ("Ctrl+PageDown",), "move the layer down", "layers"),
    Key("layer.alpha_lock", ("/",), "lock the layer's alpha", "layers"),
    Key("steps.1", ("F5",), "1 step", "picture"),
    Key("steps.2", ("F6",), "2 steps", "picture"),
    Key("steps.3", ("F7",), "3 steps", "picture"),
    Key("steps.4", ("F8",), "4 steps", "picture"),
    Key("strength.less", (",",), "closer to the strokes", "picture", True),
    Key("strength.more", (".",), "freer from the strokes", "picture", True),
    Key("lora.less", ("Shift+,",), "less of the LoRA", "picture", True),
    Key("lora.more", ("Shift+.",), "more of the LoRA", "picture", True),
    Key("dice", ("R",), "random seed", "picture"),
    Key("prompt", ("Enter",), "write the prompt", "picture"),
    Key("model", ("Shift+M",), "next model", "picture"),
    Key("mood.before", ("Up",), "mood: slider above", "mood"),
    Key("mood.after", ("Down",), "mood: slider below", "mood"),
    Key("mood.less", ("Left",), "mood: less", "mood", True),
    Key("mood.more", ("Right",), "mood: more", "mood", True),
    Key("zoom.in", ("Ctrl++", "Ctrl+=", "+"), "zoom in", "view", True),
    Key("zoom.out", ("Ctrl+-",), "zoom out", "view", True),
    Key("zoom.full", ("Ctrl+1",), "zoom to 100 %", "view"),
    Key("zoom.fit", ("Ctrl+0", "Ctrl+2"), "fit, upright", "view"),
    Key("rotate.left", ("Ctrl+[",), "rotate left", "view", True),
    Key("rotate.right", ("Ctrl+]",), "rotate right", "view", True),
    Key("rotate.reset", ("Ctrl+'",), "rotation and mirror off", "view"),
    Key("mirror", ("M",), "mirror the view", "view"),
    Key("source.pause", ("F9",), "source: pause or go on", "live"),
    Key("source.show", ("Shift+F9",), "source: show or hide", "live"),
    Key("source.over", ("Ctrl+F9",), "source: over or under the strokes", "live"),
    Key("source.mirror", ("Alt+F9",), "source: mirror", "live"),
    Key("source.flatten", ("F10",), "source: flat colours", "live"),
    Key("source.back", ("Ctrl+Left",), "source: 5 s back", "live", True),
    Key("source.forward", ("Ctrl+Right",), "source: 5 s on", "live", True),
    Key("source.opacity.less", ("Ctrl+Down",), "source: less opacity", "live", True),
    Key("source.opacity.more", ("Ctrl+Up",), "source: more opacity", "live", True),
    Key("source.feedback.less", ("Shift+Down",), "source: less feedback", "live", True),
    Key("source.feedback.more", ("Shift+Up",), "source: more feedback", "live", True),
    Key("camera", ("F12",), "virtual camera on or off", "live"),
    Key("projector", ("Shift+F12",), "projector window on or off", "live"),
    Key("record", ("F2",), "start or stop recording", "recording"),
    Key("keep", ("F3",), "save the last seconds", "recording"),
    Key("rewind", ("F4",), "rewind to an earlier paper", "recording"),
    Key("restore", ("Ctrl+R",), "restore after a crash", "recording"),
    Key("view", ("Tab",), "next view", "window"),
    Key("full", ("F11",), "full screen", "window"),
    Key("hud", ("H",), "statistics on or off", "window"),
    Key("help", ("F1",), "this help", "window"),
    Key("back", ("Esc",), "cancel, leave help or full screen", "window"),
    Key("quit", ("Ctrl+Q",), "quit", "window"),
)


class KeyMap:
    """The active key table: the defaults, or the defaults changed by the user's keys."""

    def __init__(self, rows: tuple[Key, ...] = KEYS):
        """Raises ValueError if two rows share a key."""
        self.rows = rows
        self.names = {row.name: row for row in rows}
        self._table: dict[Shortcut, Key] = {}
        for row in rows:
            for shortcut in map(Shortcut.parse, row.keys):
                other = self._table.setdefault(shortcut, row)
                if other is not row:
                    raise ValueError(f"{shortcut.label} is both {other.name} and {row.name}")

    def label(self, name: str) -> str:
        """First key of an action, as shown in help and tooltips; "" if it has none."""
        keys = self.names[name].keys
        return Shortcut.parse(keys[0]).label if keys else ""

    def tip(self, name: str) -> str:
        """Tooltip of the button for an action."""
        key = self.label(name)
        return f"{self.names[name].help}  ({key})" if key else self.names[name].help

    def find(self, event: pygame.event.Event) -> Key | None:
        """The row that matches a KEYDOWN event."""
        tried = candidates(event.key, event.mod, event.unicode, getattr(event, "scancode", 0))
        return next((self._table[shortcut] for shortcut in tried if shortcut in self._table), None)


def user_keys_path() -> Path:
    """Path of the user's key file."""
    return user_config_path("flowbrush") / "keys.json"


def load_keymap(path: Path) -> KeyMap:
    """Load the default keys, changed by a JSON file of action -> key or list of keys, [] for none.

    A key that the file assigns to an action is removed from its default action. Raises InputError for an
    invalid file; a missing file changes nothing.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return KeyMap()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}; correct or remove it") from error
    if not isinstance(given, dict):
        raise InputError(f'{path} must hold a JSON object such as {{"undo": "Ctrl+Z"}}')
    known = {row.name for row in KEYS}
    try:
        own = {}
        for name, keys in given.items():
            if name not in known:
                raise ValueError(f"there is no action {name!r}")
            listed = [keys] if isinstance(keys, str) else keys
            if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
                raise ValueError(f"the keys of {name} must be text or a list of texts")
            own[name] = tuple(listed)
        taken = {Shortcut.parse(key) for keys in own.values() for key in keys}
        rows = []
        for row in KEYS:
            left = tuple(key for key in row.keys if Shortcut.parse(key) not in taken)
            rows.append(row._replace(keys=own.get(row.name, left)))
        return KeyMap(tuple(rows))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def candidates(key: int, mods: int, text: str = "", scancode: int = 0) -> list[Shortcut]:
    """Possible shortcuts of a key press, the likeliest first. key, mods, text: as reported by SDL."""
    typed = len(text) == 1 and text.isprintable()
    alt_graph = bool(mods & pygame.KMOD_MODE) or (bool(mods & pygame.KMOD_RALT) and typed)
    command = pygame.KMOD_META if MAC else pygame.KMOD_CTRL
    if mods & (pygame.KMOD_CTRL if MAC else pygame.KMOD_META):
        return []  # shortcuts of the system
    ctrl, alt = bool(mods & command) and not alt_graph, bool(mods & pygame.KMOD_ALT) and not alt_graph
    shift = bool(mods & pygame.KMOD_SHIFT)
    held = tuple(name for name, on in zip(MODIFIERS, (ctrl, alt, shift), strict=True) if on)
    made = []
    if scancode in DIGIT_ROW and not shift and not alt_graph:
        made.append(Shortcut(DIGIT_ROW[scancode], held))
    if typed and not text.isalpha() and text != " " and not (ctrl or alt):
        made.append(Shortcut(text))
    if not alt_graph and (symbol := symbol_of(key, mods)):
        made.append(Shortcut(symbol, held))
    return made


def symbol_of(key: int, mods: int) -> str:
    """Symbol of an SDL key code; "" if it has none. Keypad digits count while Num Lock is on."""
    if key in KEYPAD:
        digits = KEYPAD[key].isdigit()
        return KEYPAD[key] if not digits or mods & pygame.KMOD_NUM else ""
    if key in NAMED:
        return NAMED[key]
    return chr(key).lower() if 32 < key < 0x10000 and chr(key).isprintable() else ""
