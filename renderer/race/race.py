"""The race loop: several models run side by side on the same strokes. Read `tick` first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import chain

import pygame

from models.api import MATERIALS, NOTHING, Img2Img, ModelError, Rect
from renderer.actions import EDITS, Begin, Brush, Clear, Edit, End, Extend, InputError, Undo
from renderer.canvas.canvas import Canvas
from renderer.picture_params import PictureParams
from renderer.race.column import MOST_COLUMNS, Column
from renderer.race.fair_lock import FairLock
from renderer.race.view import RaceView
from renderer.recording.recorder import Recorder
from renderer.runtime import pacing
from renderer.stroke_log.demo import DemoPlayer
from renderer.ui.simple_window import SimpleWindow, is_quit

DISPLAY_HZ = 60.0
RECORD_HZ = 30.0
STEPS = (1, 2, 3, 4, 8, 16, 20, 30, 50, 100, 250, 1000)
KEYS = (
    "1-9 0 - = material   [ ] size   C clear   Z undo   R seed      "
    "Left, Right column   Up, Down model   , . steps   A add   X remove   Esc quit"
)
MATERIAL_KEYS = "1234567890-="


class Race:
    """One canvas, several models. `load` returns a loader for a column's spec, or raises ModelError."""

    def __init__(
        self,
        screen: SimpleWindow,
        load: Callable[[str], Callable[[], Img2Img]],
        specs: list[str],
        choices: list[str],
        params: PictureParams,
        size: tuple[int, int],
        *,
        script: DemoPlayer | None = None,
        recorder: Recorder | None = None,
        message: str = "",
    ):
        """choices: model specs that Up and Down cycle through. message: shown until the first key press."""
        self.screen, self._load, self.choices, self.params = screen, load, choices, params
        self.canvas, self.view, self.lock = Canvas(*size), RaceView(), FairLock()
        self.script, self.recorder = script, recorder
        self.columns = [Column(spec, load(spec), self.lock) for spec in specs[:MOST_COLUMNS]]
        self.retired: list[Column] = []
        self.chosen, self.running, self.message = 0, True, message
        self.flips, self.began_s = 0, time.perf_counter()
        self.brush = Brush(MATERIALS[0].color, size[0] / 12)
        self._dirty, self._painted_s = self.canvas.whole, self.began_s
        self._fed: set[Column] = set()  # columns that have received the newest canvas
        self._repaint = True
        self._sequence = 0
        self._due_s = self._record_s = 0.0

    def run(self, seconds: float) -> None:
        """Run for this many seconds; 0: until the window is closed."""
        self.began_s = time.perf_counter()
        while self.running and (not seconds or time.perf_counter() - self.began_s < seconds):
            try:
                self.tick()
            except KeyboardInterrupt:  # Ctrl+C ends the race as Esc does
                self.running = False

    def tick(self) -> None:
        """Run one iteration of the loop. Never waits for a model."""
        now_s = time.perf_counter()
        self._due_s = pacing.next_tick_s(now_s, self._due_s, DISPLAY_HZ)
        time.sleep(max(0.0, self._due_s - now_s))
        now_s = time.perf_counter()
        for event in self.screen.poll():
            self.obey(event, now_s)
        for event in self.script.due(now_s) if self.script else ():
            if isinstance(event.action, EDITS):
                self.paint(event.action, event.time_s)
        self.feed()
        for column in self.columns:
            column.collect(now_s)
        self.draw(now_s)
        shown_s = self.screen.flip()
        self.flips += 1
        for column in self.columns:
            column.flipped(shown_s)
        self.record(shown_s)

    def paint(self, edit: Edit, time_s: float) -> None:
        """Apply one edit; an edit that fails shows a message."""
        try:
            box = self.canvas.apply(edit)
        except InputError as error:
            self.message = str(error)
            return
        if not box.empty:
            self.dirty(box, time_s)

    def dirty(self, box: Rect, time_s: float) -> None:
        self._dirty, self._painted_s, self._repaint = self._dirty.union(box), time_s, True
        self._fed.clear()

    def feed(self) -> None:
        """Submit the newest canvas to every column, once."""
        waiting = [column for column in self.columns if column.ready and column not in self._fed]
        if not waiting:
            return
        self._sequence += 1
        dirty = self._dirty if not self._dirty.empty else self.canvas.whole
        paper, materials = self.canvas.snapshot(), self.canvas.snapshot_materials()
        request = self.params.request(paper, materials=materials, sequence=self._sequence, dirty=dirty)
        for column in waiting:
            column.submit(request, self._painted_s)
        self._fed.update(waiting)
        self._dirty = NOTHING

    def draw(self, now_s: float) -> None:
        paper = self.canvas.pixels if self._repaint else None
        seconds = now_s - self.began_s
        shown = f"{self.flips / seconds:.0f}/s shown   " if seconds > 1 else ""
        foot = shown + (self.message or KEYS)
        if self.view.boxes and len(self.view.boxes) != len(self.columns) + 1:
            paper = self.canvas.pixels
        self.view.draw(self.screen.surface, paper, self.columns, self.chosen, foot, now_s, seconds)
        self._repaint = False

    def record(self, shown_s: float) -> None:
        if self.recorder is not None and shown_s >= self._record_s:
            self._record_s = max(self._record_s + 1 / RECORD_HZ, shown_s)
            self.recorder.offer(self.screen.shot(), shown_s)

    def obey(self, event: pygame.event.Event, now_s: float) -> None:
        if is_quit(event):
            self.running = False
        elif event.type == pygame.VIDEORESIZE:
            self._repaint = True
        elif event.type == pygame.KEYDOWN:
            try:
                self.key(event, now_s)
            except ModelError as error:
                self.message = str(error)
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button in (1, 3):
            at = self.view.place(event.pos, (self.canvas.width, self.canvas.height))
            if at is not None:
                self.script = None  # the user paints from here on
                brush = Brush(self.brush.color, self.brush.size_px, erase=event.button == 3)
                self.paint(Begin(brush, (*at, 1.0)), now_s)
        elif event.type == pygame.MOUSEMOTION and self.canvas.drawing:
            at = self.view.place(event.pos, (self.canvas.width, self.canvas.height))
            if at is not None:
                self.paint(Extend(((*at, 1.0),)), now_s)
        elif event.type == pygame.MOUSEBUTTONUP and self.canvas.drawing:
            self.paint(End(), now_s)

    def key(self, event: pygame.event.Event, now_s: float) -> None:
        self.message = ""
        word, brush = event.unicode, self.brush
        if word and word in MATERIAL_KEYS:
            self.brush = Brush(MATERIALS[MATERIAL_KEYS.index(word)].color, brush.size_px)
        elif word in ("[", "]"):
            size_px = brush.size_px * (0.8 if word == "[" else 1.25)
            self.brush = Brush(brush.color, min(400.0, max(2.0, size_px)))
        elif event.key == pygame.K_c:
            self.paint(Clear(), now_s)
        elif event.key == pygame.K_z:
            self.paint(Undo(), now_s)
        elif event.key == pygame.K_r:
            self.params = self.params.change("seed", time.time_ns() % 2**31)
            self.dirty(self.canvas.whole, now_s)
        elif event.key in (pygame.K_LEFT, pygame.K_RIGHT):
            self.chosen = (self.chosen + (1 if event.key == pygame.K_RIGHT else -1)) % len(self.columns)
        elif event.key in (pygame.K_UP, pygame.K_DOWN):
            self.switch(1 if event.key == pygame.K_DOWN else -1)
        elif word in (",", "."):
            self.change(stepped(self.columns[self.chosen].spec, 1 if word == "." else -1))
        elif event.key == pygame.K_a:
            self.add()
        elif event.key in (pygame.K_x, pygame.K_DELETE):
            self.drop()

    def switch(self, by: int) -> None:
        """Switch the chosen column to the next model in `choices`."""
        spec = self.columns[self.chosen].spec
        at = self.choices.index(spec) if spec in self.choices else -by
        self.change(self.choices[(at + by) % len(self.choices)])

    def change(self, spec: str) -> None:
        """Load another model in the chosen column. On ModelError the column is kept."""
        made = Column(spec, self._load(spec), self.lock)
        self.retired.append(self.columns[self.chosen])
        self.columns[self.chosen] = made

    def add(self) -> None:
        if len(self.columns) == MOST_COLUMNS:
            self.message = f"at most {MOST_COLUMNS} columns fit"
            return
        shown = {column.spec for column in self.columns}
        spec = next((choice for choice in self.choices if choice not in shown), self.choices[0])
        self.columns.append(Column(spec, self._load(spec), self.lock))
        self.chosen = len(self.columns) - 1

    def drop(self) -> None:
        if len(self.columns) == 1:
            self.message = "the last column cannot be removed"
            return
        self.retired.append(self.columns.pop(self.chosen))
        self.chosen = min(self.chosen, len(self.columns) - 1)

    def figures(self) -> dict:
        """Statistics of the whole run and the last ones shown: the output of `race --json`."""
        now_s = time.perf_counter()
        seconds = now_s - self.began_s
        return {
            "shown_fps": round(self.flips / seconds, 2),
            "seconds": round(seconds, 2),
            "size": self.canvas.width,
            "columns": [column.figures(now_s, seconds) for column in self.columns],
        }

    def close(self) -> bool:
        """Close workers, recorder and window. Returns whether all workers ended in time. Idempotent."""
        self.lock.close()
        ended = [column.close() for column in chain(self.columns, self.retired)]
        if self.recorder is not None:
            self.recorder.close()
            for message in self.recorder.news:
                print(f"flowbrush: {message.text}", file=sys.stderr)
        self.screen.close()
        return all(ended)


def stepped(spec: str, by: int) -> str:
    """The spec with the next larger (by > 0) or smaller number of steps in STEPS."""
    *name, steps = spec.split(":")
    longer = [count for count in STEPS if count > int(steps)]
    shorter = [count for count in STEPS if count < int(steps)]
    found = (longer or [int(steps)])[0] if by > 0 else (shorter or [int(steps)])[-1]
    return ":".join([*name, str(found)])
