"""The help overlay, generated from the key table."""

from __future__ import annotations

import pygame

from renderer.ui.input.keymap import Key, KeyMap, Shortcut
from renderer.ui.style.theme import ACCENT, CARD, EDGE, FAINT, INK, RAISED, SOFT, Theme, rounded, text

COLUMNS = (
    ("tools", "stroke", "live"),
    ("palette", "mood", "paper"),
    ("picture", "layers"),
    ("view", "window", "recording"),
)
WIDE, ROW, KEY = 300, 23, 104
FOOT = (
    "Right button: erase.   Wheel: brush size, with Shift hardness, with Ctrl zoom.   "
    "Shift+click: a line from the last stroke.   Space or middle button: drag the view."
)


def draw_help(surface: pygame.Surface, theme: Theme, keymap: KeyMap) -> None:
    """Draw the key table over the darkened window, scaled down to fit."""
    width, height = surface.get_size()
    tall = max(sum(34 + ROW * len(rows(keymap, group)) for group in groups) for groups in COLUMNS) + 112
    theme = Theme(min(theme.scale, width / (len(COLUMNS) * WIDE + 60), height / tall))
    px = theme.px
    shade = pygame.Surface((width, height), pygame.SRCALPHA)
    shade.fill((10, 11, 14, 190))
    surface.blit(shade, (0, 0))
    card = pygame.Rect(0, 0, px(len(COLUMNS) * WIDE + 40), px(tall - 20))
    card.center = (width // 2, height // 2)
    rounded(surface, CARD, card, px(12))
    rounded(surface, EDGE, card, px(12), 1)
    surface.blit(text("Keys", theme.font(18, bold=True), INK), card.move(px(28), px(18)).topleft)
    for i, groups in enumerate(COLUMNS):
        x, y = card.x + px(28 + i * WIDE), card.y + px(56)
        for group in groups:
            surface.blit(text(group.capitalize(), theme.strong, ACCENT), (x, y))
            y += px(24)
            for row in rows(keymap, group):
                draw_keys(surface, theme, Shortcut.parse(row.keys[0]).label, x, y)
                surface.blit(text(row.help, theme.body, SOFT), (x + px(KEY), y + px(1)))
                y += px(ROW)
            y += px(10)
    foot = text(FOOT, theme.small, FAINT)
    surface.blit(foot, foot.get_rect(midbottom=(card.centerx, card.bottom - px(12))))


def rows(keymap: KeyMap, group: str) -> list[Key]:
    return [row for row in keymap.rows if row.group == group and row.keys]


def draw_keys(surface: pygame.Surface, theme: Theme, words: str, x: int, y: int) -> None:
    """Draw a shortcut as key caps."""
    for part in words.replace("++", "+Plus").split("+"):
        shown = text(part, theme.small, INK)
        box = pygame.Rect(x, y, max(theme.px(20), shown.get_width() + theme.px(10)), theme.px(18))
        rounded(surface, RAISED, box, theme.px(4))
        pygame.draw.line(surface, EDGE, (box.x + 3, box.bottom - 1), (box.right - 4, box.bottom - 1))
        surface.blit(shown, shown.get_rect(center=box.center))
        x = box.right + theme.px(3)
