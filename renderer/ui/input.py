"""pygame events -> strokes and commands, and the only key table: help and tooltips are made from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
    Redo,
    Undo,
)
from renderer.picture_params import PictureParams
from renderer.ui.layout import Layout, Pane

CTRL, SHIFT = pygame.KMOD_CTRL | pygame.KMOD_META, pygame.KMOD_SHIFT
TOOLS = ("brush", "eraser", "line", "fill", "pick")
SMALLEST_PX, LARGEST_PX = 2.0, 300.0
FULL_SPEED = 2600.0  # canvas px/s at which a stroke is thinnest
SPEED_MEMORY = 0.35  # weight of the newest speed in the running mean
FIRST_PRESSURE, LEAST_PRESSURE = 0.8, 0.25
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
    Key(pygame.K_COMMA, SHIFT, "lora.less", "less of the LoRA", "picture"),
    Key(pygame.K_PERIOD, SHIFT, "lora.more", "more of the LoRA", "picture"),
    Key(pygame.K_r, 0, "dice", "throw the dice: another seed", "picture"),
    Key(pygame.K_RETURN, 0, "prompt", "write the prompt", "picture"),
    Key(pygame.K_m, 0, "model", "choose the model", "picture"),
    Key(pygame.K_UP, 0, "mood.before", "mood: slider above", "mood"),
    Key(pygame.K_DOWN, 0, "mood.after", "mood: slider below", "mood"),
    Key(pygame.K_LEFT, 0, "mood.less", "mood: less", "mood"),
    Key(pygame.K_RIGHT, 0, "mood.more", "mood: more", "mood"),
    Key(pygame.K_F2, 0, "record", "film, or end the film", "recording"),
    Key(pygame.K_F3, 0, "keep", "keep that: the last seconds", "recording"),
    Key(pygame.K_F4, 0, "rewind", "rewind to an earlier paper", "recording"),
    Key(pygame.K_r, CTRL, "restore", "bring back what a crash ended", "recording"),
    Key(pygame.K_TAB, 0, "view", "next view", "window"),
    Key(pygame.K_F11, 0, "full", "picture alone, full screen", "window"),
    Key(pygame.K_h, 0, "hud", "numbers on or off", "window"),
    Key(pygame.K_F1, 0, "help", "this help", "window"),
    Key(pygame.K_ESCAPE, 0, "back", "leave help or full screen, end a load", "window"),
    Key(pygame.K_q, CTRL, "quit", "quit", "window"),
)
NAMES = {key.name: key for key in reversed(KEYS)}


def label(key: Key) -> str:
    """The key as the help prints it: Ctrl+Shift+Z."""
    words = [word for mask, word in ((CTRL, "Ctrl"), (SHIFT, "Shift")) if key.mods & mask]
    name = pygame.key.name(key.key)
    name = {"return": "Enter", "escape": "Esc", "delete": "Del"}.get(name, name)
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
        self.place: tuple[float, float] | None = None  # canvas position under the pointer
        self._start = self._at = (0.0, 0.0)
        self._ruling = False  # a straight line is being drawn, not a stroke
        self._speed, self._pressure, self._moved_s = 0.0, FIRST_PRESSURE, 0.0

    @property
    def drawing(self) -> bool:
        return self.pane is not None

    @property
    def rubber(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Both ends of the straight line that is being drawn."""
        return (self._start, self._at) if self.pane is not None and self._ruling else None

    def translate(self, events: Iterable, layout: Layout, params: PictureParams, now_s: float) -> list[Event]:
        """Events of one tick. All motion between two others becomes one Extend with every point."""
        made: list[Action] = []
        moves: list[tuple[float, float]] = []
        for event in events:
            if event.type == pygame.MOUSEMOTION:
                moves.append(event.pos)
                continue
            made += self.move(moves, layout, now_s)
            moves = []
            if event.type == pygame.MOUSEBUTTONDOWN:
                made += self.press(event, layout, now_s)
            elif event.type == pygame.WINDOWFOCUSLOST or event.type == pygame.MOUSEBUTTONUP:
                made += self.release() if getattr(event, "button", 1) in (1, 3) else []
            elif event.type == pygame.MOUSEWHEEL and self.place is not None and event.y:
                kind = "hardness" if pygame.key.get_mods() & SHIFT else "size"
                self.do(f"{kind}.{'more' if event.y > 0 else 'less'}", params)
            elif event.type == pygame.KEYDOWN:
                row = find(event.key, event.mod)
                made += self.do(row.name, params) if row is not None else []
            elif event.type == pygame.QUIT:
                made.append(Command("quit"))
            elif event.type == pygame.DROPFILE:
                made.append(Command("load", event.file))
        made += self.move(moves, layout, now_s)
        return [Event(action, now_s) for action in made]

    def press(self, event, layout: Layout, now_s: float) -> list[Action]:
        pane = layout.pane_at(*event.pos)
        if pane is None and self.tool not in ("fill", "pick"):  # it may come onto the paper
            pane = layout.pane_beside(*event.pos)
        if pane is None or event.button not in (1, 3) or self.drawing:
            return []
        self.place = self._start = self._at = place = pane.canvas_at(*event.pos)
        self._speed, self._pressure, self._moved_s = 0.0, FIRST_PRESSURE, now_s
        if self.tool == "fill" and event.button == 1:
            return [Fill(self.brush.color, *place, self.tolerance)]
        if self.tool == "pick":
            return [Command("pick", place)]
        self.pane, self._ruling = pane, self.tool == "line" and event.button == 1
        if self._ruling:
            return []
        erase = self.tool == "eraser" or event.button == 3
        return [Begin(replace(self.brush, erase=erase), (*place, FIRST_PRESSURE))]

    def move(self, moves: list[tuple[float, float]], layout: Layout, now_s: float) -> list[Action]:
        """Follow the pointer. The speed is that of the whole tick: its events come in bursts."""
        if not moves:
            return []
        if self.pane is None:
            pane = layout.pane_at(*moves[-1])
            self.place = pane.canvas_at(*moves[-1]) if pane is not None else None
            return []
        places = [self.pane.canvas_at(*position) for position in moves]
        length = sum(math.dist(a, b) for a, b in zip([self._at, *places], places, strict=False))
        self._speed += SPEED_MEMORY * (length / max(1 / 250, now_s - self._moved_s) - self._speed)
        self.place = self._at = places[-1]
        self._moved_s = now_s
        if self._ruling:
            return []
        before, share = self._pressure, min(1.0, self._speed / FULL_SPEED)
        self._pressure = 1.0 - (1.0 - LEAST_PRESSURE) * share
        step = (self._pressure - before) / len(places)
        return [Extend(tuple((*place, before + step * (i + 1)) for i, place in enumerate(places)))]

    def release(self) -> list[Action]:
        if self.pane is None:
            return []
        line = self.rubber
        self.pane = None
        return [Line(self.brush, *line)] if line else [End()]

    def do(self, name: str, params: PictureParams) -> list[Action]:
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
            return [Change("strength", params.strength + 0.05 * sign)]
        elif kind == "lora":
            return [Change("lora_scale", params.lora_scale + 0.1 * sign)]
        elif kind == "steps":
            return [Change("steps", int(what))]
        elif kind == "mood" and what in ("before", "after"):
            self.mood_axis = (self.mood_axis + (1 if what == "after" else -1)) % len(MOOD_AXES)
        elif kind == "mood":
            axis = MOOD_AXES[self.mood_axis].name
            return [Change(f"mood.{axis}", params.mood[self.mood_axis] + MOOD_STEP * sign)]
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
