"""The current tool and brush, and the stroke being drawn: window events become actions here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, cast, get_args

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
from renderer.ui.input.keymap import KeyMap
from renderer.ui.input.navigation import ACTIONS, Navigation
from renderer.ui.view.layout import Layout, Pane

Tool = Literal["brush", "eraser", "line", "fill", "pick"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
SMALLEST_PX, LARGEST_PX = 2.0, 300.0
FULL_SPEED = 2600.0  # canvas px/s at which a stroke is thinnest
SPEED_MEMORY = 0.35  # weight of the newest speed in the running mean
FIRST_PRESSURE, LEAST_PRESSURE = 0.8, 0.25
MOOD_STEP = 0.1


class Tools:
    """Turns window events into Events for the loop. place: canvas position under the pointer, or None."""

    def __init__(self, keymap: KeyMap | None = None) -> None:
        self.keymap = keymap or KeyMap()
        self.navigation = Navigation()
        self.tool: Tool = "brush"
        self.brush = Brush(color=MATERIALS[0].color, material=1)
        self.tolerance = 24
        self.mood_axis = 0
        self.pane: Pane | None = None  # where the current stroke began
        self.place: tuple[float, float] | None = None
        self._button = 0  # that draws the current stroke
        self._start = self._at = (0.0, 0.0)
        self._is_line = False  # a straight line is being drawn, not a stroke
        self._speed, self._pressure, self._moved_s = 0.0, FIRST_PRESSURE, 0.0
        self._held: set[int] = set()  # keys that are down

    @property
    def drawing(self) -> bool:
        return self.pane is not None

    @property
    def line_preview(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Both ends of the straight line that is being drawn, in canvas pixels."""
        return (self._start, self._at) if self.pane is not None and self._is_line else None

    def is_repeat(self, event: pygame.event.Event) -> bool:
        """Whether a KEYDOWN repeats a held key for an action that is done once a press. Sees every event."""
        if event.type == pygame.KEYUP:
            self._held.discard(event.key)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._held.clear()
        elif event.type == pygame.KEYDOWN:
            if event.key in self._held:
                row = self.keymap.find(event)
                return row is None or not row.repeats
            self._held.add(event.key)
        return False

    def translate(
        self, events: Iterable[pygame.event.Event], layout: Layout, params: PictureParams, now_s: float
    ) -> list[Event]:
        """Events of one tick. All motion between two others becomes one Extend with every point."""
        made: list[Action] = []
        moves: list[tuple[float, float]] = []
        for event in events:
            if event.type == pygame.MOUSEMOTION and not self.navigation.dragging:
                moves.append(event.pos)
                continue
            made += self.move(moves, layout, now_s)
            moves = []
            if not self.drawing and self.navigation.handle(event, layout):
                continue
            if event.type == pygame.MOUSEBUTTONDOWN:
                made += self.press(event, layout, now_s)
            elif event.type == pygame.MOUSEBUTTONUP:
                made += self.release() if event.button == self._button else []
            elif event.type == pygame.WINDOWFOCUSLOST:
                made += self.release()
            elif event.type == pygame.MOUSEWHEEL and self.place is not None and event.y:
                kind = "hardness" if pygame.key.get_mods() & pygame.KMOD_SHIFT else "size"
                self.do(f"{kind}.{'more' if event.y > 0 else 'less'}", params)
            elif event.type == pygame.KEYDOWN:
                row = self.keymap.find(event)
                made += self.do(row.name, params) if row is not None else []
            elif event.type == pygame.QUIT:
                made.append(Command("quit"))
            elif event.type == pygame.DROPFILE:
                made.append(Command("load", event.file))
        made += self.move(moves, layout, now_s)
        return [Event(action, now_s) for action in made]

    def press(self, event: pygame.event.Event, layout: Layout, now_s: float) -> list[Action]:
        pane = layout.pane_at(*event.pos)
        if pane is None and self.tool not in ("fill", "pick"):  # it may come onto the paper
            pane = layout.pane_beside(*event.pos)
        if pane is None or event.button not in (1, 3) or self.drawing:
            return []
        self.place = self._start = self._at = place = pane.canvas_at(*event.pos)
        self._speed, self._pressure, self._moved_s = 0.0, FIRST_PRESSURE, now_s
        if self.tool == "fill" and event.button == 1:
            return [Fill(self.brush.color, *place, self.tolerance, self.brush.material)]
        if self.tool == "pick":
            return [Command("pick", place)]
        self.pane, self._button = pane, event.button
        self._is_line = self.tool == "line" and event.button == 1
        if self._is_line:
            return []
        erase = self.tool == "eraser" or event.button == 3
        return [Begin(replace(self.brush, erase=erase), (*place, FIRST_PRESSURE))]

    def move(self, moves: list[tuple[float, float]], layout: Layout, now_s: float) -> list[Action]:
        """Follow the pointer. Speed is measured over the whole tick, because its events come in bursts."""
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
        if self._is_line:
            return []
        before, share = self._pressure, min(1.0, self._speed / FULL_SPEED)
        self._pressure = 1.0 - (1.0 - LEAST_PRESSURE) * share
        step = (self._pressure - before) / len(places)
        return [Extend(tuple((*place, before + step * (i + 1)) for i, place in enumerate(places)))]

    def release(self) -> list[Action]:
        """End the current stroke or line."""
        if self.pane is None:
            return []
        line = self.line_preview
        self.pane, self._button = None, 0
        return [Line(self.brush, *line)] if line else [End()]

    def do(self, name: str, params: PictureParams) -> list[Action]:
        """Carry out one row of the key table, or a button of the same name."""
        kind, _, what = name.partition(".")
        sign = {"less": -1, "more": 1}.get(what, 0)
        if name == "back" and self.line_preview is not None:
            self.pane, self._button = None, 0  # the line is not drawn
        elif name in ACTIONS:
            self.navigation.do(name)
        elif kind == "tool":
            self.tool = cast(Tool, what)
        elif kind == "size":
            size = self.brush.size_px * 1.2**sign
            self.brush = replace(self.brush, size_px=min(LARGEST_PX, max(SMALLEST_PX, size)))
        elif kind in ("hardness", "opacity"):
            level = getattr(self.brush, kind) + 0.1 * sign
            self.brush = replace(self.brush, **{kind: min(1.0, max(0.05, level))})
        elif kind == "tolerance":
            self.tolerance = min(255, max(0, self.tolerance + 8 * sign))
        elif kind == "material":
            self.take(MATERIALS[int(what)].color, int(what) + 1)
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

    def take(self, color: tuple[int, int, int], material: int = 0) -> None:
        """Paint with a colour; a tool that has none becomes the brush."""
        self.brush = replace(self.brush, color=color, material=material)
        if self.tool in ("eraser", "pick"):
            self.tool = "brush"
