"""Tests of the key map: shortcuts, labels, keyboard layouts, modifiers."""

from __future__ import annotations

import pygame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.actions import InputError
from renderer.ui.input.keymap import KEYS, MODIFIERS, NAMED, Key, KeyMap, Shortcut, candidates, load_keymap

LSHIFT, LCTRL, LALT, RALT = pygame.KMOD_LSHIFT, pygame.KMOD_LCTRL, pygame.KMOD_LALT, pygame.KMOD_RALT


def found(code: int, mods: int = 0, text: str = "", scancode: int = 0) -> str | None:
    press = pygame.event.Event(pygame.KEYDOWN, key=code, mod=mods, unicode=text, scancode=scancode)
    row = KeyMap().find(press)
    return row.name if row is not None else None


def test_labels_are_unique_and_mean_their_row():
    keymap = KeyMap()
    labels = [keymap.label(row.name) for row in KEYS]
    assert len(set(labels)) == len(KEYS)
    assert keymap.label("redo") == "Ctrl+Shift+Z" and keymap.label("prompt") == "Enter"
    assert keymap.tip("undo") == "undo  (Ctrl+Z)"


symbols = st.one_of(st.sampled_from([*NAMED.values()]), st.characters(min_codepoint=33, max_codepoint=126))


@given(symbols, st.sets(st.sampled_from(MODIFIERS)))
def test_a_label_reads_back(symbol, held):
    shortcut = Shortcut(
        symbol if len(symbol) > 1 else symbol.lower(), tuple(m for m in MODIFIERS if m in held)
    )
    assert Shortcut.parse("+".join([*shortcut.modifiers, shortcut.symbol])) == shortcut


@pytest.mark.parametrize("text", ["", "Ctrl+", "Hyper+A", "Foo", "A+B"])
def test_what_is_no_key(text):
    with pytest.raises(ValueError):
        Shortcut.parse(text)


def test_one_key_cannot_do_two_things():
    with pytest.raises(ValueError, match="both undo and redo"):
        KeyMap((Key("undo", ("U",), "", ""), Key("redo", ("u",), "", "")))


def test_the_users_own_keys(tmp_path):
    path = tmp_path / "keys.json"
    assert load_keymap(path).label("undo") == "Ctrl+Z"
    path.write_text('{"undo": ["Ctrl+U", "F9"], "tool.fill": "b", "dice": []}')
    keymap = load_keymap(path)
    assert keymap.label("undo") == "Ctrl+U" and keymap.label("tool.fill") == "B"
    assert keymap.label("tool.brush") == keymap.label("dice") == ""  # key reassigned; no keys
    press = pygame.event.Event(pygame.KEYDOWN, key=pygame.K_b, mod=0, unicode="b", scancode=0)
    found = keymap.find(press)
    assert found is not None and found.name == "tool.fill"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"nothing": "a"}',
        '{"undo": 3}',
        '{"undo": "Hyper+Z"}',
        '{"undo": "a", "redo": "A"}',
        "\xff",
    ],
)
def test_a_key_file_that_cannot_be_used_is_one_line(tmp_path, text):
    path = tmp_path / "keys.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"keys.json") as raised:
        load_keymap(path)
    assert "\n" not in str(raised.value)


def test_modifiers_count():
    assert found(pygame.K_r, text="r") == "dice"
    assert found(pygame.K_r, LCTRL) == "restore"
    assert found(pygame.K_r, LALT, "r") is None
    assert found(pygame.K_r, pygame.KMOD_LMETA) is None
    assert found(pygame.K_z, LCTRL | LSHIFT) == "redo"
    assert found(pygame.K_z, LCTRL | LALT) is None
    assert found(pygame.K_r, pygame.KMOD_CAPS | pygame.KMOD_NUM, "R") == "dice"


@pytest.mark.parametrize(
    ("code", "mods", "text", "scancode", "name"),
    [
        # German: AltGr+8 types "[", AltGr+7 "{", Shift+0 "="; Z and Y are swapped
        (pygame.K_8, pygame.KMOD_MODE, "[", pygame.KSCAN_8, "size.less"),
        (pygame.K_8, RALT, "[", pygame.KSCAN_8, "size.less"),
        (pygame.K_9, LCTRL | RALT, "]", pygame.KSCAN_9, "size.more"),
        (pygame.K_7, pygame.KMOD_MODE, "{", pygame.KSCAN_7, "hardness.less"),
        (pygame.K_0, LSHIFT, "=", pygame.KSCAN_0, "material.11"),
        (pygame.K_z, LCTRL, "\x1a", pygame.KSCAN_Y, "undo"),
        # French: digits need Shift, unshifted keys type "&", "-", "a with grave"
        (pygame.K_AMPERSAND, 0, "&", pygame.KSCAN_1, "material.0"),
        (pygame.K_MINUS, 0, "-", pygame.KSCAN_6, "material.5"),
        (0xE0, 0, "\xe0", pygame.KSCAN_0, "material.9"),
        (pygame.K_AMPERSAND, LSHIFT, "1", pygame.KSCAN_1, "material.0"),
        (pygame.K_SEMICOLON, LSHIFT, ".", pygame.KSCAN_COMMA, "strength.more"),
        (pygame.K_z, LCTRL, "\x1a", pygame.KSCAN_W, "undo"),
        # Dvorak: brackets right of 0
        (pygame.K_LEFTBRACKET, 0, "[", pygame.KSCAN_MINUS, "size.less"),
        (pygame.K_LEFTBRACKET, LSHIFT, "{", pygame.KSCAN_MINUS, "hardness.less"),
        # keypad
        (pygame.K_KP_3, pygame.KMOD_NUM, "3", pygame.KSCAN_KP3, "material.2"),
        (pygame.K_KP_3, 0, "", pygame.KSCAN_KP3, None),
        (pygame.K_KP_ENTER, 0, "\r", pygame.KSCAN_KP_ENTER, "prompt"),
    ],
)
def test_keyboard_layouts(code, mods, text, scancode, name):
    assert found(code, mods, text, scancode) == name


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 16), st.text(max_size=2), st.integers(0, 600))
def test_any_key_event_is_read(code, mods, text, scancode):
    assert all(shortcut.symbol for shortcut in candidates(code, mods, text, scancode))
