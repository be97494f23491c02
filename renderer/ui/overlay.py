"""Overlay of the panes: brush ring, line preview, timeline and messages. Marks are redrawn entirely."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pygame

from models.api import Rect
from renderer.recording.status import RecordingState
from renderer.runtime.messages import Level, Message
from renderer.scene import Scene
from renderer.ui import timeline
from renderer.ui.input.tools import Tools
from renderer.ui.style.theme import BAD, INK, Theme, rounded, text
from renderer.ui.view.layout import Layout, Pane

MOST_ERRORS = 3
DARK, LIGHT = (20, 20, 24), (250, 250, 248)


@dataclass(frozen=True)
class Mark:
    """An element of the overlay. box: window pixels it may cover. what: its content, depending on kind."""

    kind: Literal["ring", "line", "timeline", "note"]
    box: Rect
    what: tuple


def marks_of(tools: Tools, scene: Scene, layout: Layout, theme: Theme) -> tuple[Mark, ...]:
    """The marks that are currently visible."""
    made = []
    for pane in layout.panes:
        if tools.place is not None:
            made.append(ring(pane, tools.place, tools))
        if tools.line_preview is not None:
            made.append(line_mark(pane, *tools.line_preview))
    if scene.rewind is not None:
        back = scene.rewind
        made.append(Mark("timeline", timeline.bar(layout, theme), (back.at_s, tuple(back.pins), back)))
    return (*made, *notes(scene, layout, theme))


def ring(pane: Pane, place: tuple[float, float], tools: Tools) -> Mark:
    x, y = window_point(pane, place)
    radius = max(3, round(tools.ring_px * pane.scale / 2)) if tools.tool not in ("fill", "pick") else 3
    box = Rect(x - radius - 2, y - radius - 2, x + radius + 3, y + radius + 3)
    return Mark("ring", box.intersect(pane.box), (x, y, radius))


def line_mark(pane: Pane, start: tuple[float, float], stop: tuple[float, float]) -> Mark:
    (ax, ay), (bx, by) = (window_point(pane, end) for end in (start, stop))
    box = Rect(min(ax, bx) - 2, min(ay, by) - 2, max(ax, bx) + 3, max(ay, by) + 3)
    return Mark("line", box.intersect(pane.box), ((ax, ay), (bx, by)))


def window_point(pane: Pane, place: tuple[float, float]) -> tuple[int, int]:
    x, y = pane.view.to_window(*place)
    return round(x), round(y)


def notes(scene: Scene, layout: Layout, theme: Theme) -> list[Mark]:
    """Status, messages and notes, at the top of the picture."""
    pane = layout.panes[-1].frame
    errors = [message for message in scene.messages if message.level is Level.ERROR]
    others = [message for message in scene.messages if message.level is not Level.ERROR]
    shown = [scene.status, *errors[-MOST_ERRORS:], *others[-2:]]
    if scene.view != "picture":  # notes stay until the prompt changes
        shown += [Message(note) for note in scene.notes[:1]]
    if scene.demo:
        shown.append(Message("demo: press any key or button to paint"))
    if scene.offer:
        shown.append(Message(scene.offer))
    if scene.recording.state is RecordingState.RECORDING and not scene.show_hud:
        shown.append(Message(scene.recording.text))
    y, made = pane.y0 + theme.px(12), []
    for message in dict.fromkeys(message for message in shown if message):
        lines, wide, high = fitted(theme, message.text, pane.width - theme.px(24))
        width = min(pane.width, wide + theme.px(24))
        x = (pane.x0 + pane.x1 - width) // 2
        box = Rect(x, y, x + width, y + high + theme.px(10))
        made.append(Mark("note", box.intersect(pane), (lines, message.level is Level.ERROR)))
        y = box.y1 + theme.px(6)
    return made


@functools.lru_cache(maxsize=32)  # a message is shown for hundreds of ticks
def fitted(theme: Theme, words: str, most_px: int) -> tuple[tuple[str, ...], int, int]:
    """Wrap text to this width. Returns the lines, and the width and height of all lines in pixels."""
    lines = wrapped(words, lambda part: theme.body.size(part)[0], most_px)
    return lines, max(theme.body.size(line)[0] for line in lines), len(lines) * theme.body.get_linesize()


def wrapped(words: str, width_of: Callable[[str], int], most_px: int) -> tuple[str, ...]:
    """Wrap text into lines, broken between words, or within a word that is wider than a line."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if width_of(longer) <= most_px:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and width_of(lines[-1] + letter) > most_px:
                lines.append("")
            lines[-1] += letter
    return tuple(lines)


def elided(words: str, width_of: Callable[[str], int], most_px: int) -> str:
    """Shorten text that is too wide by replacing its middle with "...", so that a path keeps its end."""
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
        start, stop = mark.what
        pygame.draw.line(surface, DARK, start, stop, 3)
        pygame.draw.line(surface, LIGHT, start, stop, 1)
    else:
        lines, bad = mark.what
        rounded(surface, (20, 20, 24, 215), box, theme.px(8))
        for i, line in enumerate(lines):
            shown = text(line, theme.body, BAD if bad else INK)
            y = box.y + theme.px(5) + i * theme.body.get_linesize()
            surface.blit(shown, shown.get_rect(midtop=(box.centerx, y)))
    surface.set_clip(None)
