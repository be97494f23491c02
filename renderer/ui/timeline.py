"""Timeline of the rewind mode, below the panes: its keys, pointer input and drawing."""

from __future__ import annotations

from collections.abc import Iterable

import pygame

from models.api import Rect
from renderer.actions import Command, Event
from renderer.scene import RewindState
from renderer.ui.style.theme import ACCENT, CARD, EDGE, FAINT, INK, SOFT, Theme, rounded, text
from renderer.ui.view.layout import Layout

HIGH, MARGIN = 56, 16
STEP_S, LEAP_S = 1.0, 10.0
HINTS = (  # the longest one that fits is shown
    "Left, Right: one second    Shift: ten    Up, Down: pins    P: pin    Enter: paint on    Esc: now",
    "Left, Right: seconds    Up, Down: pins    P: pin    Enter: paint on    Esc: now",
    "P: pin    Enter: paint on    Esc: now",
)
KEYS = {
    pygame.K_RETURN: "branch",
    pygame.K_KP_ENTER: "branch",
    pygame.K_ESCAPE: "leave",
    pygame.K_p: "pin",
}


def bar(layout: Layout, theme: Theme) -> Rect:
    """Box of the timeline in the window, at the bottom of the panes."""
    left, right = layout.panes[0].frame.x0, layout.panes[-1].frame.x1
    foot = max(pane.frame.y1 for pane in layout.panes)
    return Rect(left, foot - theme.px(HIGH), right, foot)


def read(
    events: Iterable, back: RewindState, box: Rect, theme: Theme, now_s: float
) -> tuple[list[Event], list]:
    """Returns (commands, events not used by the timeline). A drag becomes one seek per tick."""
    made: list[Event] = []
    rest, at_s = [], None
    for event in events:
        if event.type == pygame.KEYDOWN and event.key in KEYS:
            made.append(Event(Command(f"rewind.{KEYS[event.key]}"), now_s))
        elif event.type == pygame.KEYDOWN and event.key in MOVES:
            at_s = MOVES[event.key](back, at_s if at_s is not None else back.at_s, event.mod)
        elif is_drag(event) and box.x0 <= event.pos[0] < box.x1 and box.y0 <= event.pos[1] < box.y1:
            at_s = moment(back, box, theme, event.pos[0])
        else:
            rest.append(event)
    if at_s is not None:
        made.insert(0, Event(Command("rewind.seek", at_s), now_s))
    return made, rest


def is_drag(event) -> bool:
    """Whether the left button is pressed, or the pointer moves while it is held."""
    if event.type == pygame.MOUSEMOTION:
        return bool(event.buttons[0])
    return event.type == pygame.MOUSEBUTTONDOWN and event.button == 1


def step(sign: int):
    return lambda back, at_s, mods: at_s + sign * (LEAP_S if mods & pygame.KMOD_SHIFT else STEP_S)


def jump(sign: int):
    """A move to the next pin, or to the end of the bar."""

    def move(back: RewindState, at_s: float, mods: int) -> float:
        ahead = [place for place in (back.begin_s, *back.pins, back.end_s) if (place - at_s) * sign > 1e-3]
        return min(ahead, key=lambda place: abs(place - at_s), default=at_s)

    return move


MOVES = {
    pygame.K_LEFT: step(-1),
    pygame.K_RIGHT: step(1),
    pygame.K_UP: jump(-1),
    pygame.K_DOWN: jump(1),
    pygame.K_HOME: lambda back, at_s, mods: back.begin_s,
    pygame.K_END: lambda back, at_s, mods: back.end_s,
}


def groove(box: Rect, theme: Theme) -> tuple[int, int, int]:
    """(left, right, y) of the time axis."""
    return box.x0 + theme.px(MARGIN), box.x1 - theme.px(MARGIN), box.y0 + theme.px(34)


def moment(back: RewindState, box: Rect, theme: Theme, x: int) -> float:
    left, right, _ = groove(box, theme)
    share = min(1.0, max(0.0, (x - left) / max(1, right - left)))
    return back.begin_s + share * (back.end_s - back.begin_s)


def place(back: RewindState, box: Rect, theme: Theme, at_s: float) -> int:
    left, right, _ = groove(box, theme)
    return round(left + (right - left) * (at_s - back.begin_s) / max(1e-3, back.end_s - back.begin_s))


def draw(surface: pygame.Surface, theme: Theme, box: Rect, back: RewindState) -> None:
    px = theme.px
    card = pygame.Rect(box.x0, box.y0, box.width, box.height)
    rounded(surface, CARD, card, px(8))
    rounded(surface, EDGE, card, px(8), 1)
    left, right, y = groove(box, theme)
    at = place(back, box, theme, back.at_s)
    pygame.draw.line(surface, FAINT, (left, y), (right, y), px(3))
    pygame.draw.line(surface, ACCENT, (left, y), (at, y), px(3))
    for pin in back.pins:
        x = place(back, box, theme, pin)
        pygame.draw.line(surface, INK, (x, y - px(8)), (x, y + px(8)), px(2))
    pygame.draw.aacircle(surface, ACCENT, (at, y), px(7))
    minutes, seconds = divmod(round(back.end_s - back.at_s), 60)
    ago = text(f"{minutes}:{seconds:02} ago", theme.strong, INK)
    surface.blit(ago, (left, box.y0 + px(6)))
    room = right - left - ago.get_width() - px(MARGIN)
    shown = next((words for words in HINTS if theme.small.size(words)[0] <= room), HINTS[-1])
    words = text(shown, theme.small, SOFT)
    surface.blit(words, words.get_rect(topright=(right, box.y0 + px(8))))
