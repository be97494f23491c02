"""What lies over the panes: the ring of the brush, the line being ruled, messages; small, redrawn whole."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pygame

from models.api import Rect
from renderer.scene import Scene
from renderer.ui import timeline
from renderer.ui.input import Hand
from renderer.ui.layout import Layout, Pane
from renderer.ui.theme import BAD, INK, Theme, rounded, text

DARK, LIGHT = (20, 20, 24), (250, 250, 248)
BAD_SIGNS = ("fail", "error", "cannot", "not a number", "does not fit")


@dataclass(frozen=True)
class Mark:
    """box: all pixels of the window it may touch. kind: "ring", "line", "timeline" or "note"."""

    kind: str
    box: Rect
    what: tuple


def marks(hand: Hand, scene: Scene, layout: Layout, theme: Theme) -> tuple[Mark, ...]:
    """Everything that lies over the panes now."""
    made = []
    for pane in layout.panes:
        if hand.place is not None:
            made.append(ring(pane, hand))
        if hand.rubber is not None:
            made.append(ruled(pane, hand))
    if scene.rewind is not None:
        back = scene.rewind
        made.append(Mark("timeline", timeline.bar(layout, theme), (back.at_s, tuple(back.pins), back)))
    return (*made, *notes(scene, layout, theme))


def ring(pane: Pane, hand: Hand) -> Mark:
    x, y = window_point(pane, hand.place)
    radius = max(3, round(hand.brush.size_px * pane.scale / 2)) if hand.tool not in ("fill", "pick") else 3
    box = Rect(x - radius - 2, y - radius - 2, x + radius + 3, y + radius + 3)
    return Mark("ring", box.intersect(pane.box), (x, y, radius))


def ruled(pane: Pane, hand: Hand) -> Mark:
    (ax, ay), (bx, by) = (window_point(pane, end) for end in hand.rubber)
    box = Rect(min(ax, bx) - 2, min(ay, by) - 2, max(ax, bx) + 3, max(ay, by) + 3)
    return Mark("line", box.intersect(pane.box), ((ax, ay), (bx, by)))


def window_point(pane: Pane, place: tuple[float, float]) -> tuple[int, int]:
    return round(pane.box.x0 + place[0] * pane.scale), round(pane.box.y0 + place[1] * pane.scale)


def notes(scene: Scene, layout: Layout, theme: Theme) -> list[Mark]:
    """What is waited for, what failed, what was said: at the top of the picture."""
    pane = layout.panes[-1].box
    lines = [scene.status, *scene.messages[-2:]]
    if scene.view != "picture":  # these stay as long as the prompt does
        lines += scene.notes[:1]
    if scene.demo:
        lines.append("demo: touch anything to paint yourself")
    if scene.offer:
        lines.append(scene.offer)
    if scene.recording.startswith("recording") and not scene.show_hud:
        lines.append(scene.recording)
    y, made = pane.y0 + theme.px(12), []
    for words in dict.fromkeys(line for line in lines if line):
        words, wide, high = fitted(theme, words, pane.width - theme.px(24))
        width = min(pane.width, wide + theme.px(24))
        x = (pane.x0 + pane.x1 - width) // 2
        box = Rect(x, y, x + width, y + high + theme.px(10))
        made.append(
            Mark("note", box.intersect(pane), (words, any(sign in words.lower() for sign in BAD_SIGNS)))
        )
        y = box.y1 + theme.px(6)
    return made


@functools.lru_cache(maxsize=32)  # a line stands for hundreds of ticks
def fitted(theme: Theme, words: str, most_px: int) -> tuple[str, int, int]:
    """The words as they fit, and their width and height in pixels."""
    words = elided(words, lambda part: theme.body.size(part)[0], most_px)
    return words, *theme.body.size(words)


def elided(words: str, width_of: Callable[[str], int], most_px: int) -> str:
    """The words without their middle where they are too wide: what happened, and the end of a path."""
    if width_of(words) <= most_px:
        return words
    kept = len(words)
    while kept > 8 and width_of(shortened(words, kept)) > most_px:
        kept -= 1
    return shortened(words, kept)


def shortened(words: str, kept: int) -> str:
    return f"{words[: kept - kept // 2]}...{words[len(words) - kept // 2 :]}"


def draw_mark(surface: pygame.Surface, mark: Mark, theme: Theme) -> None:
    box = pygame.Rect(mark.box[:2], (mark.box.width, mark.box.height))
    surface.set_clip(box)
    if mark.kind == "ring":
        x, y, radius = mark.what
        pygame.draw.aacircle(surface, DARK, (x, y), radius + 1, 1)
        pygame.draw.aacircle(surface, LIGHT, (x, y), radius, 1)
    elif mark.kind == "timeline":
        timeline.draw(surface, theme, mark.box, mark.what[-1])
    elif mark.kind == "line":
        pygame.draw.line(surface, DARK, *mark.what, 3)
        pygame.draw.line(surface, LIGHT, *mark.what, 1)
    else:
        words, bad = mark.what
        rounded(surface, (20, 20, 24, 215), box, theme.px(8))
        shown = text(words, theme.body, BAD if bad else INK)
        surface.blit(shown, shown.get_rect(center=box.center))
    surface.set_clip(None)
