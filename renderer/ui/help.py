"""The help: the key table, over everything."""

from __future__ import annotations

import pygame

from renderer.ui.input import KEYS, Key, label
from renderer.ui.theme import ACCENT, CARD, EDGE, FAINT, INK, RAISED, SOFT, Theme, rounded, text

TITLES = {"tools": "Tools", "palette": "Palette", "paper": "Paper", "picture": "Picture", "mood": "Mood"}
COLUMNS = (("tools", "mood"), ("palette", "paper"), ("picture", "window", "recording"))
WIDE, ROW, KEY = 330, 23, 104
FOOT = "The right button erases.   The wheel sizes the brush.   Drop an image on the window to paint over it."


def draw_help(surface: pygame.Surface, theme: Theme) -> None:
    """Shade everything and print the table; as much smaller as the window asks for."""
    width, height = surface.get_size()
    tall = max(sum(34 + ROW * len(rows(group)) for group in groups) for groups in COLUMNS) + 112
    theme = Theme(min(theme.scale, width / (3 * WIDE + 60), height / tall))
    px = theme.px
    shade = pygame.Surface((width, height), pygame.SRCALPHA)
    shade.fill((10, 11, 14, 190))
    surface.blit(shade, (0, 0))
    card = pygame.Rect(0, 0, px(3 * WIDE + 40), px(tall - 20))
    card.center = (width // 2, height // 2)
    rounded(surface, CARD, card, px(12))
    rounded(surface, EDGE, card, px(12), 1)
    surface.blit(
        text("Everything has a key", theme.font(18, bold=True), INK), card.move(px(28), px(18)).topleft
    )
    for i, groups in enumerate(COLUMNS):
        x, y = card.x + px(28 + i * WIDE), card.y + px(56)
        for group in groups:
            surface.blit(text(TITLES.get(group, group.capitalize()), theme.strong, ACCENT), (x, y))
            y += px(24)
            for row in rows(group):
                cap(surface, theme, label(row), x, y)
                surface.blit(text(row.help, theme.body, SOFT), (x + px(KEY), y + px(1)))
                y += px(ROW)
            y += px(10)
    foot = text(FOOT, theme.small, FAINT)
    surface.blit(foot, foot.get_rect(midbottom=(card.centerx, card.bottom - px(12))))


def rows(group: str) -> list[Key]:
    return [key for key in KEYS if key.group == group]


def cap(surface: pygame.Surface, theme: Theme, words: str, x: int, y: int) -> None:
    """The keys as they look on a keyboard."""
    for part in words.replace("++", "+Plus").split("+"):
        shown = text(part, theme.small, INK)
        box = pygame.Rect(x, y, max(theme.px(20), shown.get_width() + theme.px(10)), theme.px(18))
        rounded(surface, RAISED, box, theme.px(4))
        pygame.draw.line(surface, EDGE, (box.x + 3, box.bottom - 1), (box.right - 4, box.bottom - 1))
        surface.blit(shown, shown.get_rect(center=box.center))
        x = box.right + theme.px(3)
