"""Dialogs for a free colour and for an image file."""

from __future__ import annotations

from pathlib import Path

import pygame
from platformdirs import user_pictures_dir
from pygame_gui import UIManager, windows

from renderer.ui.style.theme import Theme
from renderer.ui.view.layout import PANEL

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def color_dialog(
    manager: UIManager, theme: Theme, color: tuple[int, int, int]
) -> windows.UIColourPickerDialog:
    box = theme.box(PANEL + 40, 60, 440, 420)
    return windows.UIColourPickerDialog(box, manager, initial_colour=pygame.Color(*color))


def file_dialog(manager: UIManager, theme: Theme) -> windows.UIFileDialog:
    """Opens where the user's pictures are."""
    pictures = Path(user_pictures_dir())
    return windows.UIFileDialog(
        theme.box(PANEL + 40, 60, 520, 460),
        manager,
        "Open an image as paper",
        initial_file_path=str(pictures if pictures.is_dir() else Path.home()),
        allowed_suffixes=IMAGE_SUFFIXES,
        allow_existing_files_only=True,
    )
