"""Colour picker dialog."""

from __future__ import annotations

import pygame
from pygame_gui import UIManager, windows

from renderer.ui.style.theme import Theme
from renderer.ui.view.layout import PANEL


def color_dialog(
    manager: UIManager, theme: Theme, color: tuple[int, int, int]
) -> windows.UIColourPickerDialog:
    box = theme.box(PANEL + 40, 60, 440, 420)
    return windows.UIColourPickerDialog(box, manager, initial_colour=pygame.Color(*color))
