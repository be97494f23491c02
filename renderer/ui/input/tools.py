"""Tool state and stroke input: translates window events to actions."""

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
    Symmetry,
    Undo,
)
from renderer.canvas.tools.brushes import MIN_WIDTH
from renderer.picture_params import PictureParams
from renderer.ui.input.keymap import KeyMap
from renderer.ui.input.navigation import ACTIONS, Navigation
from renderer.ui.tablet import Tablet
from renderer.ui.view.layout import Layout, Pane

Tool = Literal["brush", "eraser", "line", "fill", "pick"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
Color = tuple[int, int, int]
MOST_COLORS = 12  # length of the colour history
Stabilizer = Literal["off", "light", "strong"]
SymmetryChoice = Literal["off", "vertical", "horizontal", "radial"]
Dynamics = Literal["size", "opacity", "none"]
CHOICES: dict[str, tuple[str, ...]] = {  # each key press selects the next
    "stabilizer": get_args(Stabilizer),
    "symmetry": get_args(SymmetryChoice),
    "dynamics": get_args(Dynamics),
}
STABILIZER_PX = {"off": 0.0, "light": 12.0, "strong": 40.0}  # window px of lag of the stroke
SMALLEST_PX, LARGEST_PX = 2.0, 300.0
FULL_SPEED = 2600.0  # canvas px/s at which a stroke is thinnest
SPEED_MEMORY = 0.35  # weight of the newest speed in the running mean
FIRST_PRESSURE, LEAST_PRESSURE = 0.8, 0.25
MOOD_STEP = 0.1


class Tools:
    """Translates window events to Events of the loop. place: canvas position of the pointer, or None."""

    def __init__(self, keymap: KeyMap | None = None) -> None:
        self.keymap = keymap or KeyMap()
        self.navigation = Navigation()
        self.tool: Tool = "brush"
        self.brush = Brush(color=MATERIALS[0].color, material=1)
        self.tolerance = 24
        self.colors: list[Color] = []  # custom colours used, newest first
        self.stabilizer: Stabilizer = "off"
        self.symmetry: SymmetryChoice = "off"
        self.dynamics: Dynamics = "size"
        self.tablet: Tablet | None = None
        self._samples: list[float] = []  # pen pressures of this tick
        self._pen = False  # whether the newest stroke is from a pen
        self.mood_axis = 0
        self.show_layers = False
        self.pane: Pane | None = None  # pane in which the current stroke began
        self.place: tuple[float, float] | None = None
        self._button = 0  # button of the current stroke
        self._start = self._at = self._target = (0.0, 0.0)  # stroke start, stroke end, pointer
        self._before = (0.0, 0.0)  # pointer in the previous tick
        self._last: tuple[float, float] | None = None  # end of the last stroke
        self._is_line = False  # a straight line instead of a stroke
        self._speed, self._pressure, self._moved_s = 0.0, FIRST_PRESSURE, 0.0
        self._held: set[int] = set()  # keys held down

    @property
    def drawing(self) -> bool:
        return self.pane is not None

    @property
    def line_preview(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """End points of the straight line being drawn, in canvas pixels."""
        return (self._start, self._at) if self.pane is not None and self._is_line else None

    def is_repeat(self, event: pygame.event.Event) -> bool:
        """Whether a KEYDOWN is a key repeat of a non-repeating action. Call it with every event."""
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
        """Events of one tick. Consecutive motion events are merged into one Extend with all points."""
        if self.tablet is not None:
            self._samples = self.tablet.pressures()
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
        if pane is None and self.tool not in ("fill", "pick"):  # the stroke may enter the paper
            pane = layout.pane_beside(*event.pos)
        if pane is None or event.button not in (1, 3) or self.drawing:
            return []
        before, place = self._last, pane.canvas_at(*event.pos)
        self.place = self._start = self._at = self._target = place
        self._speed, self._pressure, self._moved_s = 0.0, self.first_pressure(), now_s
        if self.tool == "fill" and event.button == 1:
            self.remember(self.brush.color if self.brush.material == 0 else None)
            return [Fill(self.brush.color, *place, self.tolerance, self.brush.material)]
        if self.tool == "pick":
            return [Command("pick", place)]
        if self.brush.material == 0 and event.button == 1 and self.tool != "eraser":
            self.remember(self.brush.color)
        erase = self.tool == "eraser" or event.button == 3
        if before is not None and self.tool != "line" and pygame.key.get_mods() & pygame.KMOD_SHIFT:
            self._last = place
            return [Line(self.stroke_brush(erase), before, place)]
        self.pane, self._button = pane, event.button
        self._is_line = self.tool == "line" and event.button == 1
        if self._is_line:
            return []
        return [Begin(self.stroke_brush(erase), (*place, self._pressure))]

    def remember(self, color: Color | None) -> None:
        """Add a custom colour at the front of the colour history."""
        if color is not None:
            others = [other for other in self.colors if other != color]
            self.colors = [color, *others][:MOST_COLORS]

    def stroke_brush(self, erase: bool = False) -> Brush:
        """Brush of a new stroke, with the current eraser, symmetry and dynamics settings."""
        width, height = self.navigation.canvas
        symmetry = None
        if self.symmetry != "off":  # about the canvas centre; the last pixel is at width - 1
            symmetry = Symmetry(self.symmetry, (width - 1) / 2, (height - 1) / 2)
        dynamics = "opacity" if self.dynamics == "opacity" else "size"
        return replace(self.brush, erase=erase, dynamics=dynamics, symmetry=symmetry)

    def first_pressure(self) -> float:
        """Pressure at the start of a stroke: the pen's, or a default while the pointer speed is unknown."""
        self._pen = bool(self._samples)
        if self.dynamics == "none":
            return 1.0
        return self._samples[-1] if self._samples else FIRST_PRESSURE

    def move(self, moves: list[tuple[float, float]], layout: Layout, now_s: float) -> list[Action]:
        """Handle pointer motion; extends the current stroke."""
        if not moves:
            return []
        if self.pane is None:
            pane = layout.pane_at(*moves[-1])
            self.place = pane.canvas_at(*moves[-1]) if pane is not None else None
            return []
        targets = [self.pane.canvas_at(*position) for position in moves]
        self._before, self._target = self._target, targets[-1]
        if self._is_line:
            self.place = self._at = targets[-1]
            return []
        slack, places = STABILIZER_PX[self.stabilizer] / self.pane.scale, []
        for target in targets:
            self._at = pulled(self._at, target, slack)
            places.append(self._at)
        pressures = self.pressures(targets, now_s)
        self.place = self._at
        return [Extend(tuple((*place, p) for place, p in zip(places, pressures, strict=True)))]

    def pressures(self, places: list[tuple[float, float]], now_s: float) -> list[float]:
        """Pressure at every point of this tick, from the pen or, without a pen, from the pointer speed.

        Speed is measured over the whole tick, because events arrive in bursts.
        """
        count, before = len(places), self._pressure
        if self.dynamics == "none":
            return [1.0] * count
        if self._samples:
            samples, self._samples, self._pen = self._samples, [], True
            self._pressure = samples[-1]
            return [samples[min(len(samples) - 1, (i + 1) * len(samples) // count)] for i in range(count)]
        if self._pen:
            return [before] * count
        length = sum(math.dist(a, b) for a, b in zip([self._before, *places], places, strict=False))
        self._speed += SPEED_MEMORY * (length / max(1 / 250, now_s - self._moved_s) - self._speed)
        self._moved_s = now_s
        self._pressure = 1.0 - (1.0 - LEAST_PRESSURE) * min(1.0, self._speed / FULL_SPEED)
        step = (self._pressure - before) / count
        return [before + step * (i + 1) for i in range(count)]

    @property
    def ring_px(self) -> float:
        """Diameter of the brush ring, the width of the next dab, in canvas pixels."""
        if self.dynamics != "size" or (self._pen and not self.drawing):
            return self.brush.size_px  # pen pressure is unknown before contact
        pressure = self._pressure if self.drawing and not self._is_line else FIRST_PRESSURE
        return self.brush.size_px * (1.0 if self._is_line else MIN_WIDTH + (1 - MIN_WIDTH) * pressure)

    def release(self) -> list[Action]:
        """End the current stroke or line at the pointer."""
        if self.pane is None:
            return []
        line, behind = self.line_preview, self._at != self._target
        self.pane, self._button, self._last = None, 0, self._target
        if line:
            return [Line(self.stroke_brush(), *line)]
        return [*([Extend(((*self._target, self._pressure),))] if behind else []), End()]

    def do(self, name: str, params: PictureParams) -> list[Action]:
        """Perform the action of a key table row or of the button of the same name."""
        kind, _, what = name.partition(".")
        sign = {"less": -1, "more": 1}.get(what, 0)
        if name == "back" and self.line_preview is not None:
            self.pane, self._button = None, 0  # cancels the line
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
        elif kind == "layers":
            self.show_layers = not self.show_layers
        elif kind in CHOICES:
            names = CHOICES[kind]
            setattr(self, kind, names[(names.index(getattr(self, kind)) + 1) % len(names)])
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
        """Select a colour; a tool without a colour is replaced by the brush."""
        self.brush = replace(self.brush, color=color, material=material)
        if self.tool in ("eraser", "pick"):
            self.tool = "brush"


def pulled(at: tuple[float, float], target: tuple[float, float], slack: float) -> tuple[float, float]:
    """Stabilizer: a point pulled towards the target on a string of this length; small wobbles do not move it.

    The result does not depend on time, and therefore not on how events are batched.
    """
    distance = math.dist(at, target)
    if distance <= slack or distance == 0:
        return target if slack == 0 else at
    share = 1 - slack / distance
    return at[0] + (target[0] - at[0]) * share, at[1] + (target[1] - at[1]) * share
