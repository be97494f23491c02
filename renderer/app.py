"""The main loop. Each tick, in order: poll, paint, submit, collect, draw, flip, pace."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.api import Failure, Frame, ModelError, Rect
from renderer import commands
from renderer.actions import EDITS, Change, Command, Event, InputError
from renderer.canvas.canvas import Canvas
from renderer.canvas.layers import LayerStack
from renderer.canvas.wet_ink import WetInk
from renderer.live import NO_PARTS, Live, LiveParts
from renderer.model_switcher import PER_MODEL, LoadModel, ModelSwitcher
from renderer.persistence import Files, Persistence
from renderer.picture_params import PictureParams
from renderer.picture_requests import PictureRequests
from renderer.rewind import Rewind
from renderer.runtime import pacing
from renderer.runtime.engine import Engine
from renderer.runtime.latency import RunStatistics
from renderer.runtime.messages import Level, Messages
from renderer.scene import PromptReader, Scene, ignore_prompt
from renderer.stroke_log.codec import quantized
from renderer.stroke_log.demo import DemoPlayer, demo_settings
from renderer.stroke_log.log import StrokeLog
from renderer.ui.window import Window


class App:
    """The application: canvas, model engine and window, driven by the main loop."""

    def __init__(
        self,
        window: Window,
        load_model: LoadModel,
        params: PictureParams,
        *,
        size: tuple[int, int] = (512, 512),
        models: tuple[str, ...] = ("painter",),
        read_prompt: PromptReader = ignore_prompt,
        interim_model: str = "",
        explicit: Mapping[str, Any] | None = None,
        save_folder: Path | None = None,
        files: Files | None = None,
        demo: StrokeLog | None = None,
        live: LiveParts = NO_PARTS,
    ):
        """size: (width, height) of the paper in pixels. models: names that the user can choose.

        load_model, interim_model, explicit: as in ModelSwitcher. demo: a stroke log played in a loop until
        the user does something. live: source, outputs and remote control.
        """
        explicit, self.demo = dict(explicit or {}), None
        if demo is not None:
            settings = demo_settings(demo, params)
            params = replace(params, **settings)
            explicit |= {name: value for name, value in settings.items() if name in PER_MODEL}
            self.demo = DemoPlayer(demo, size)
        self.window, self.save_folder = window, save_folder or Path.cwd()
        self.canvas, self.stats, self.messages = Canvas(*size), RunStatistics(), Messages()
        self.scene = Scene(
            self.canvas, WetInk(*size), params, self.stats, models=models, read_prompt=read_prompt
        )
        self.scene.demo = demo is not None
        self.persistence = Persistence(self.canvas, self.scene, self.messages, files=files)
        self.live = Live(self.canvas, self.scene, self.messages, live)
        self.engine = Engine(on_idle=self.persistence.model_idle)
        self.switcher = ModelSwitcher(
            self.engine,
            self.scene,
            load_model,
            self.messages,
            self.set_param,
            interim=interim_model,
            explicit=explicit,
        )
        self.rewind = Rewind(
            self.scene, self.persistence.history, show_layers=self.show_layers, apply=self.apply
        )
        self.requests = PictureRequests(
            self.canvas,
            self.scene,
            self.engine,
            self.switcher,
            self.stats,
            self.live,
            now_s=time.perf_counter(),
        )
        self.running, self.started = True, False  # started: loading of the first model has begun
        self._known = self.canvas.seen.copy()  # the paper after the last edit
        self._known_materials = self.canvas.materials.copy()
        self._due_s = 0.0  # when this tick was due
        if demo is not None and demo.fault:
            self.messages.add(demo.fault, Level.WARNING)

    @property
    def picture(self) -> Frame | None:
        """The frame shown last; None before the first."""
        return self.requests.picture

    def step(self) -> None:
        """Run one tick and report its exceptions instead of raising them, so that the paper is never lost."""
        try:
            self.tick()
        except Exception:
            self.messages.report_exception()

    def tick(self) -> None:
        """One iteration of the loop. Never blocks on the model or on files."""
        now_s = time.perf_counter()
        self._due_s = pacing.next_tick_s(now_s, self._due_s, self.window.display_hz)
        time.sleep(max(0.0, self._due_s - now_s))
        began_s = time.perf_counter()
        for event in self.events(began_s):
            try:
                self.apply(event)
            except (InputError, ModelError) as error:  # the other events are still handled
                self.messages.add(str(error), Level.ERROR)
        self.rewind.poll(began_s)
        if self.switcher.poll(began_s):
            self.requests.restart()
        self.take_source(began_s)
        self.requests.submit(began_s)
        for failure in self.requests.collect(began_s):
            self.fail(failure)
        self.requests.count_idle_calls(began_s)
        self.draw(began_s)
        shown_s = self.window.flip()
        shown = self.picture.request.sequence if self.picture else -1
        self.stats.flip(shown_s, shown)
        self.persistence.after_flip(self.window, shown_s, self.engine.busy)
        self.live.after_flip(self.window.panes, panes_new=self.window.panes_new, shown_s=shown_s, shown=shown)
        self.stats.tick_ms.append((time.perf_counter() - began_s) * 1e3)
        if not self.started:  # torch is imported by the model's thread, after the first painted frame
            self.started = True
            self.switcher.start()

    def events(self, now_s: float) -> list[Event]:
        """Events of the user, of worker threads, and of the demo until the user acts."""
        made = self.window.poll(now_s, self.scene)
        if made:
            self.messages.acknowledge(now_s)
        while self.persistence.arrived:
            made.append(Event(self.persistence.arrived.popleft(), now_s))
        made += self.live.events(now_s, self.window.tools.do)
        if self.demo is None:
            return made
        if any(event.action not in commands.KEEP_DEMO for event in made):
            self.demo, self.scene.demo = None, False
            self.messages.add("the brush is yours")
            return made
        return made + self.demo.due(now_s)

    def apply(self, event: Event) -> None:
        """Apply one action and log it, rounded as the log stores it, so that a replay is identical."""
        action = quantized(event.action)
        if isinstance(action, Command):
            commands.run(self, action, event.time_s)
        elif isinstance(action, Change):
            self.change(action, event.time_s)
            self.persistence.event(Event(action, event.time_s))
        elif isinstance(action, EDITS):
            event = Event(action, event.time_s)
            if self.rewind.hold(event):  # painted on an earlier paper that is still being rebuilt
                return
            self.changed(self.canvas.apply(action), event.time_s)
            if not self.scene.demo:
                self.scene.offer = ""
            self.persistence.event(event)

    def quit(self) -> None:
        """End the run after this tick."""
        self.running = False

    def show_layers(self, stack: LayerStack | None, time_s: float) -> None:
        """Show other layers, or the canvas's own for None. Not an edit: not logged, not undoable."""
        if stack is None:
            self.canvas.show_own()
        else:
            self.canvas.show(stack)
        self.changed(self.canvas.whole, time_s)

    def changed(self, box: Rect, time_s: float) -> None:
        """Update ink, window and model where the paper inside the box differs from its last state."""
        before, after = self._known[box.slices], self.canvas.seen[box.slices]
        labels, materials = self._known_materials[box.slices], self.canvas.materials[box.slices]
        if box.empty or (np.array_equal(before, after) and np.array_equal(labels, materials)):
            return
        self.scene.ink.touch(box, before, after, self.requests.sequence + 1)
        before[:], labels[:] = after, materials
        self.live.painted(box, time.perf_counter())
        self.scene.changed = self.scene.changed.union(box)
        self.mark_dirty(box, time_s)

    def change(self, action: Change, time_s: float) -> None:
        """Change a picture setting. Raises InputError or ModelError, without changing anything."""
        before = self.scene.params
        after = self.switcher.within_card(action.name, before.change(action.name, action.value))
        if after.model != before.model and self.started:
            self.switcher.load(after.model)
        self.scene.params = after
        if after != before and after.target_fps == before.target_fps:
            if after.starts_epoch(before):
                self.requests.start_epoch()
            self.mark_dirty(self.canvas.whole, time_s)

    def set_param(self, name: str, value: Any, time_s: float) -> None:
        """Set a setting that depends on the model. Logged, so that a replay shows the same pictures."""
        if getattr(self.scene.params, name) == value:
            return
        self.scene.params = replace(self.scene.params, **{name: value})
        self.persistence.event(Event(Change(name, value), time_s))
        self.mark_dirty(self.canvas.whole, time_s)

    def mark_dirty(self, box: Rect, input_s: float) -> None:
        """Mark a box as changed by an input event at this time; a new picture is requested."""
        self.requests.mark_dirty(box, time.perf_counter(), input_s=input_s)

    def take_source(self, now_s: float) -> None:
        """Take the newest frame of a live source. It changes the model's input but not the strokes."""
        box = self.live.poll(now_s)
        if not box.empty:
            self.requests.mark_dirty(box, now_s)

    def fail(self, failure: Failure) -> None:
        self.stats.errors += 1
        self.messages.add(failure.message, Level.ERROR)
        if self.stats.errors == 1:
            print(failure.trace or f"flowbrush: {failure.message}", file=sys.stderr)

    def draw(self, now_s: float) -> None:
        lost = self.live.status()
        self.scene.status = self.engine.status(self.scene.params.model) or lost
        self.scene.messages = self.messages.current(now_s)
        self.window.draw(self.scene, now_s)

    def close(self) -> bool:
        """Close model, recording, logs and window. Idempotent. Returns whether the model ended in time."""
        self.persistence.end_recording()  # stop recording before waiting for the model
        ended = self.engine.close()
        self.switcher.close()
        self.rewind.close()
        self.persistence.close()
        self.live.close()
        self.window.close()
        return ended
