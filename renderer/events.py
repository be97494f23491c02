"""pygame events -> strokes and commands. The key table below is the only one: help and tooltips are made from it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import pygame

from models.api import MATERIALS, MOOD_AXES
from renderer.actions import (
    Action,
    Begin,
    Brush,
    Change,
    Clear,
    Command,
    End,
    Event,
    Extend,
    Fill,
    Line,
    Point,
    Redo,
    Undo,
)
from renderer.settings import Look
from renderer.view import Pane, near_canvas, to_canvas

CTRL, SHIFT = pygame.KMOD_CTRL | pygame.KMOD_META, pygame.KMOD_SHIFT
TOOLS = ("brush", "eraser", "line", "fill", "pick")
SMALLEST_PX, LARGEST_PX = 2.0, 300.0
FULL_SPEED = 2600.0  # canvas px/s at which a stroke is thinnest
SPEED_MEMORY = 0.35  # weight of the newest speed in the running mean
MOOD_STEP = 0.1


class Key(NamedTuple):
    """One row: the key, the modifiers that must be held, what it does, and the words of the help."""

    key: int
    mods: int
    name: str
    help: str
    group: str


KEYS = (
    Key(pygame.K_b, 0, "tool.brush", "brush", "tools"),
    Key(pygame.K_e, 0, "tool.eraser", "eraser, back to blank paper", "tools"),
    Key(pygame.K_l, 0, "tool.line", "straight line", "tools"),
    Key(pygame.K_f, 0, "tool.fill", "fill", "tools"),
    Key(pygame.K_i, 0, "tool.pick", "pick a colour from the paper", "tools"),
    Key(pygame.K_LEFTBRACKET, 0, "size.less", "smaller brush", "tools"),
    Key(pygame.K_RIGHTBRACKET, 0, "size.more", "larger brush", "tools"),
    Key(pygame.K_LEFTBRACKET, SHIFT, "hardness.less", "softer brush", "tools"),
    Key(pygame.K_RIGHTBRACKET, SHIFT, "hardness.more", "harder brush", "tools"),
    Key(pygame.K_o, 0, "opacity.less", "thinner paint", "tools"),
    Key(pygame.K_o, SHIFT, "opacity.more", "thicker paint", "tools"),
    Key(pygame.K_t, 0, "tolerance.less", "fill: fewer shades", "tools"),
    Key(pygame.K_t, SHIFT, "tolerance.more", "fill: more shades", "tools"),
    Key(pygame.K_c, 0, "color", "free colour", "tools"),
    *(
        Key(key, 0, f"material.{at}", material.name, "palette")
        for at, (key, material) in enumerate(
            zip(
                [*range(pygame.K_1, pygame.K_9 + 1), pygame.K_0, pygame.K_MINUS, pygame.K_EQUALS],
                MATERIALS,
                strict=True,
            )
        )
    ),
    Key(pygame.K_z, CTRL, "undo", "undo", "paper"),
    Key(pygame.K_z, CTRL | SHIFT, "redo", "redo", "paper"),
    Key(pygame.K_y, CTRL, "redo", "redo", "paper"),
    Key(pygame.K_DELETE, 0, "clear", "clear the paper", "paper"),
    Key(pygame.K_o, CTRL, "open", "open an image as paper", "paper"),
    Key(pygame.K_s, CTRL, "save", "save picture and paper", "paper"),
    Key(pygame.K_F5, 0, "steps.1", "1 step", "picture"),
    Key(pygame.K_F6, 0, "steps.2", "2 steps", "picture"),
    Key(pygame.K_F7, 0, "steps.3", "3 steps", "picture"),
    Key(pygame.K_F8, 0, "steps.4", "4 steps", "picture"),
    Key(pygame.K_COMMA, 0, "strength.less", "closer to the strokes", "picture"),
    Key(pygame.K_PERIOD, 0, "strength.more", "freer from the strokes", "picture"),
    Key(pygame.K_r, 0, "dice", "throw the dice: another seed", "picture"),
    Key(pygame.K_RETURN, 0, "prompt", "write the prompt", "picture"),
    Key(pygame.K_m, 0, "model", "choose the model", "picture"),
    Key(pygame.K_UP, 0, "mood.before", "mood: slider above", "mood"),
    Key(pygame.K_DOWN, 0, "mood.after", "mood: slider below", "mood"),
    Key(pygame.K_LEFT, 0, "mood.less", "mood: less", "mood"),
    Key(pygame.K_RIGHT, 0, "mood.more", "mood: more", "mood"),
    Key(pygame.K_TAB, 0, "view", "next view", "window"),
    Key(pygame.K_F11, 0, "full", "picture alone, full screen", "window"),
    Key(pygame.K_h, 0, "hud", "numbers on or off", "window"),
    Key(pygame.K_F1, 0, "help", "this help", "window"),
    Key(pygame.K_ESCAPE, 0, "back", "leave help, demo or full screen", "window"),
    Key(pygame.K_q, CTRL, "quit", "quit", "window"),
)
NAMES = {key.name: key for key in reversed(KEYS)}


def label(key: Key) -> str:
    """The key as the help prints it: Ctrl+Shift+Z."""
    words = [word for mask, word in ((CTRL, "Ctrl"), (SHIFT, "Shift")) if key.mods & mask]
    name = pygame.key.name(key.key)
    return "+".join([*words, name.upper() if len(name) == 1 else name.title()])


def find(key: int, mods: int) -> Key | None:
    """The row of a key press with exactly these of Ctrl and Shift held."""
    held = (bool(mods & CTRL), bool(mods & SHIFT))
    for row in KEYS:
        if row.key == key and held == (bool(row.mods & CTRL), bool(row.mods & SHIFT)):
            return row
    return None


class Hand:
    """The tool in hand, and the stroke under way. Turns window events into Events for the loop."""

    def __init__(self) -> None:
        self.tool = "brush"
        self.brush = Brush(color=MATERIALS[0].color)
        self.tolerance = 24
        self.mood_axis = 0
        self.pane: Pane | None = None  # where the stroke under way began
        self.start = (0.0, 0.0)
        self.at = (0.0, 0.0)  # newest canvas position
        self._moved_s = 0.0
        self._speed = 0.0

    @property
    def drawing(self) -> bool:
        return self.pane is not None

    def translate(self, events: list, panes: list[Pane], look: Look, now_s: float) -> list[Event]:
        """Events of one tick. All motion between two other events becomes one Extend that holds every point."""
        made: list[Event] = []
        points: list[Point] = []

        def flush() -> None:
            if points:
                made.append(Event(Extend(tuple(points)), now_s))
                points.clear()

        for event in events:
            if event.type == pygame.MOUSEMOTION:
                point = self.move(event, panes, now_s)
                if point is not None:
                    points.append(point)
                continue
            flush()
            if event.type == pygame.MOUSEBUTTONDOWN:
                made += [Event(action, now_s) for action in self.press(event, panes, now_s)]
            elif event.type == pygame.MOUSEBUTTONUP and event.button in (1, 3):
                made += [Event(action, now_s) for action in self.release()]
            elif event.type == pygame.KEYDOWN:
                row = find(event.key, event.mod)
                if row is not None:
                    made += [Event(action, now_s) for action in self.do(row.name, look)]
            elif event.type == pygame.QUIT:
                made.append(Event(Command("quit"), now_s))
            elif event.type == pygame.DROPFILE:
                made.append(Event(Command("load", event.file), now_s))
        flush()
        return made

    def press(self, event, panes: list[Pane], now_s: float) -> list[Action]:
        place = to_canvas(panes, *event.pos)
        if place is None or event.button not in (1, 3):
            return []
        self.at, self._moved_s, self._speed = place, now_s, 0.0
        if self.tool == "fill" and event.button == 1:
            return [Fill(self.brush.color, *place, self.tolerance)]
        if self.tool == "pick":
            return [Command("pick", place)]
        self.pane = next(p for p in panes if to_canvas([p], *event.pos) is not None)
        self.start = place
        if self.tool == "line" and event.button == 1:
            return []
        erase = self.tool == "eraser" or event.button == 3
        return [Begin(replace(self.brush, erase=erase), (*place, 0.8))]

    def move(self, event, panes: list[Pane], now_s: float) -> Point | None:
        if self.pane is None:
            place = to_canvas(panes, *event.pos)
            self.at = place if place is not None else (-1.0, -1.0)
            return None
        place = near_canvas(self.pane, *event.pos)
        distance = math.hypot(place[0] - self.at[0], place[1] - self.at[1])
        speed = distance / max(1 / 250, now_s - self._moved_s)
        self._speed += SPEED_MEMORY * (speed - self._speed)
        self.at, self._moved_s = place, now_s
        if self.tool == "line":
            return None
        return (*place, 1.0 - 0.75 * min(1.0, self._speed / FULL_SPEED))

    def release(self) -> list[Action]:
        if self.pane is None:
            return []
        self.pane = None
        return [Line(self.brush, self.start, self.at)] if self.tool == "line" else [End()]

    def do(self, name: str, look: Look) -> list[Action]:
        """Carry out one row of the key table, or a button of the same name."""
        kind, _, what = name.partition(".")
        sign = {"less": -1, "more": 1}.get(what, 0)
        if kind == "tool":
            self.tool = what
        elif kind == "size":
            size = self.brush.size_px * 1.2**sign
            self.brush = replace(self.brush, size_px=min(LARGEST_PX, max(SMALLEST_PX, size)))
        elif kind in ("hardness", "opacity"):
            level = getattr(self.brush, kind) + 0.1 * sign
            self.brush = replace(self.brush, **{kind: min(1.0, max(0.05, level))})
        elif kind == "tolerance":
            self.tolerance = min(255, max(0, self.tolerance + 8 * sign))
        elif kind == "material":
            self.take(MATERIALS[int(what)].color)
        elif kind == "strength":
            return [Change("strength", look.strength + 0.05 * sign)]
        elif kind == "steps":
            return [Change("steps", int(what))]
        elif kind == "mood" and what in ("before", "after"):
            self.mood_axis = (self.mood_axis + (1 if what == "after" else -1)) % len(MOOD_AXES)
        elif kind == "mood":
            axis = MOOD_AXES[self.mood_axis].name
            return [Change(f"mood.{axis}", look.mood[self.mood_axis] + MOOD_STEP * sign)]
        elif kind in ("undo", "redo", "clear"):
            return [{"undo": Undo, "redo": Redo, "clear": Clear}[kind]()]
        else:
            return [Command(name)]
        return []

    def take(self, color: tuple[int, int, int]) -> None:
        """Hold a colour; a tool that has none becomes the brush."""
        self.brush = replace(self.brush, color=color)
        if self.tool in ("eraser", "pick"):
            self.tool = "brush"
