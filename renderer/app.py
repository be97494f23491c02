"""The loop. The life of a stroke, top to bottom: poll, paint, submit, collect, draw, flip, pace."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.api import NOTHING, Failure, Frame, Img2Img, ModelError, ProgressCallback, Rect, Request
from renderer import commands, model_switcher, rewind
from renderer.actions import EDITS, Change, Command, Event, InputError
from renderer.canvas.canvas import Canvas
from renderer.canvas.layers import LayerStack
from renderer.canvas.wet_ink import WetInk
from renderer.persistence import OFFER, Persistence
from renderer.picture_params import PictureParams
from renderer.runtime import pacing
from renderer.runtime.engine import Engine
from renderer.runtime.latency import RunStatistics
from renderer.runtime.messages import Messages
from renderer.scene import PromptReader, Scene, ignore_prompt
from renderer.stroke_log.codec import quantized
from renderer.stroke_log.demo import DemoPlayer
from renderer.stroke_log.log import LogHeader, StrokeLog
from renderer.stroke_log.store import LogStore
from renderer.ui.window import Window


class App:
    """One painting: the paper, the model behind it, and the window that shows both."""

    def __init__(
        self,
        window: Window,
        load: Callable[[str, ProgressCallback], Callable[[], Img2Img]],
        params: PictureParams,
        *,
        size: tuple[int, int] = (512, 512),
        save_folder: Path | None = None,
        models: tuple[str, ...] = ("painter",),
        read_prompt: PromptReader = ignore_prompt,
        meanwhile: str = "",
    ):
        """load: model name and whom to tell -> function that loads it, called on a thread of its own.
        meanwhile: the model that serves until the look's is there. reads: as in Scene."""
        self.window, self.load, self.params, self.meanwhile = window, load, params, meanwhile
        self.asked: dict = {}  # of what each model has of its own, what was asked for otherwise
        self.canvas = Canvas(*size)
        self._known = self.canvas.seen.copy()  # the paper as of the last edit
        self._known_materials = self.canvas.materials.copy()
        self.engine, self.stats = Engine(), RunStatistics()
        ink = WetInk(*size)
        self.scene = Scene(self.canvas, ink, params, self.stats, models=models, read_prompt=read_prompt)
        self.save_folder = save_folder or Path.cwd()
        self.persistence = Persistence(*size)
        self.script: DemoPlayer | None = None
        self.picture: Frame | None = None
        self.messages = Messages()
        self.running, self.started = True, False  # started: the worker was asked to load
        self._sequence = self._epoch = 0
        self._answered = 0  # newest sequence that came back
        self._turned = False  # the next request starts a new epoch
        self._quiet_calls: int | None = None  # the model's calls when there was nothing left to do
        self._dirty = NOTHING
        self._last_edit_s = time.monotonic()
        self._due_s = 0.0  # when this turn of the loop was to begin
        self._asked: Request | None = None  # newest request
        self._effort: dict[tuple[int, int], float] = {}  # (steps, side) -> mean frame time
        self._choice = (params.steps, size[0])

    def step(self) -> None:
        """One tick that survives its errors: the paper is never lost to one."""
        try:
            self.tick()
        except Exception:
            self.messages.complain()

    def tick(self) -> None:
        """One turn of the loop. Never waits for the model."""
        now_s = time.monotonic()
        self._due_s = pacing.next_tick_s(now_s, self._due_s, self.window.display_hz)
        time.sleep(max(0.0, self._due_s - now_s))
        began_s = time.monotonic()
        for event in self.events(began_s):
            try:
                self.apply(event)
            except (InputError, ModelError) as error:  # a bad event takes no other with it
                self.messages.say(str(error))
        model_switcher.welcome(self)
        self.submit(began_s)
        self.collect(began_s)
        self.watch(began_s)
        self.draw(began_s)
        shown_s = self.window.flip()
        shown = self.picture.request.sequence if self.picture else -1
        self.stats.flip(shown_s, shown)
        self.persistence.shown(self.window, self.scene, shown_s)
        self.stats.tick_ms.append((time.monotonic() - began_s) * 1e3)
        if not self.started:  # torch is imported by the worker, after the first painted frame
            self.started = True
            model_switcher.load(self, self.meanwhile or self.params.model)

    def events(self, now_s: float) -> list[Event]:
        """What the hand did; a demo plays until the hand does something."""
        mine = self.window.poll(now_s, self.scene)
        while self.persistence.arrived:
            mine.append(Event(self.persistence.arrived.popleft(), now_s))
        if self.script is None:
            return mine
        if any(event.action not in commands.UNSEEN for event in mine):
            self.script = None
            self.scene.demo = False
            self.messages.say("the brush is yours")
            return mine
        return mine + self.script.due(now_s)

    def apply(self, event: Event) -> None:
        """Carry out one action and log it, in the form in which the log can hold it."""
        action = quantized(event.action)
        if isinstance(action, Command):
            commands.obey(self, action, event.time_s)
        elif isinstance(action, Change):
            self.change(action, event.time_s)
            self.persistence.event(Event(action, event.time_s), self.canvas)
        elif isinstance(action, EDITS):
            if self.scene.rewind is not None:  # painting on an earlier paper goes on from there
                rewind.branch(self, event.time_s)
            self.changed(self.canvas.apply(action), event.time_s)
            if not self.scene.demo:
                self.scene.offer = ""
            self.persistence.event(Event(action, event.time_s), self.canvas)

    def lay(self, stack: LayerStack | None, time_s: float) -> None:
        """Show other layers without an edit, None for the canvas's own again: nothing is logged or undone."""
        if stack is None:
            self.canvas.show_own()
        else:
            self.canvas.show(stack)
        self.changed(self.canvas.whole, time_s)

    def changed(self, box: Rect, time_s: float) -> None:
        """The paper may differ in the box; ink, window and model are told where it does."""
        before, after = self._known[box.slices], self.canvas.seen[box.slices]
        labels, materials = self._known_materials[box.slices], self.canvas.materials[box.slices]
        if box.empty or (np.array_equal(before, after) and np.array_equal(labels, materials)):
            return
        self.scene.ink.touch(box, before, after, self._sequence + 1)
        before[:], labels[:] = after, materials
        self.scene.changed = self.scene.changed.union(box)
        self.dirty(box, time_s)

    def change(self, action: Change, time_s: float) -> None:
        before, after = self.params, self.params.change(action.name, action.value)
        if action.name in model_switcher.OWN:
            self.asked[action.name] = getattr(after, action.name)
        if self.scene.card is not None and action.name == "steps":
            after = replace(after, steps=model_switcher.within(self, after.steps))
        if after == before:
            return
        if after.model != before.model and self.started:  # an unknown name raises, and the look stays
            model_switcher.load(self, after.model)
        self.params = self.scene.params = after
        if after.target_fps == before.target_fps:
            self._turned |= after.starts_epoch(before)
            self.dirty(self.canvas.whole, time_s)

    def dirty(self, box: Rect, time_s: float) -> None:
        """The picture is no longer that of the paper; this tick's request will mend it."""
        self._dirty = self._dirty.union(box)
        self._last_edit_s = time.monotonic()
        if self.engine.state == "ready":
            self.stats.input(time_s, self._sequence + 1)

    def submit(self, now_s: float) -> None:
        """Ask for a picture if anything changed, or for a finer one if the pen rests; else for nothing."""
        if self.engine.state != "ready" or self.engine.card is not self.scene.card:
            return  # no model, or one that came in this moment: it begins anew, and this would be wasted
        side = self.canvas.width
        if not self._dirty.empty:
            if self._turned:
                shown = self.picture.request.epoch if self.picture else -1
                if self._epoch > shown and self._answered < self._sequence:
                    return  # an epoch's first frame is waited for, or a slider on the move would show none
                self._epoch, self._turned = self._epoch + 1, False
            wanted = self.params.steps
            self._choice = pacing.choose_effort(
                self.params.target_fps, self._effort, wanted, side, self._choice
            )
            self.ask(*self._choice)
        elif self._asked is not None and not self.engine.busy and self.picture is not None:
            shown = self.picture.request
            if shown.sequence != self._asked.sequence:
                return
            steps = pacing.next_refinement(shown.steps, self.params.steps, now_s, self._last_edit_s)
            if steps is not None and steps in self.engine.card.steps:
                self.ask(steps, side)
            elif shown.paper.shape[1] != side and now_s - self._last_edit_s > pacing.REST_S:
                self.ask(self.params.steps, side)

    def ask(self, steps: int, side: int) -> None:
        self._sequence += 1
        paper, materials = self.canvas.snapshot(), self.canvas.snapshot_materials()
        if side != self.canvas.width:
            height = max(pacing.SMALLEST_SIDE_PX, self.canvas.height * side // self.canvas.width // 32 * 32)
            paper = cv2.resize(paper, (side, height), interpolation=cv2.INTER_AREA)
            materials = cv2.resize(materials, (side, height), interpolation=cv2.INTER_NEAREST)
            paper.flags.writeable = materials.flags.writeable = False
        self._asked = self.params.request(
            paper,
            materials=materials,
            sequence=self._sequence,
            epoch=self._epoch,
            dirty=self._dirty,
            steps=steps,
        )
        self._dirty = NOTHING
        self.engine.submit(self._asked)

    def collect(self, now_s: float) -> None:
        """Take what the worker has; refuse what is older than what is shown, or of another epoch."""
        while (result := self.engine.poll()) is not None:
            self._answered = max(self._answered, result.request.sequence)
            if isinstance(result, Failure):
                self.fail(result)
                continue
            request = result.request
            newest = self.picture.request.sequence if self.picture else -1
            if request.epoch != self._epoch or request.sequence <= newest:
                self.stats.stale += 1
                continue
            self.show(result, now_s)

    def show(self, frame: Frame, now_s: float) -> None:
        self.picture = frame
        self.stats.frame(now_s, frame.stage_ms)
        key = (frame.request.steps, frame.picture.shape[1])
        self._effort = pacing.learnt(self._effort, key, sum(frame.stage_ms.values()))
        picture = frame.picture
        if picture.shape[:2] != (self.canvas.height, self.canvas.width):
            size = (self.canvas.width, self.canvas.height)
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        self.scene.picture, self.scene.picture_new = picture, True
        self.scene.notes, self.scene.why_not_faster = frame.notes, frame.why_not_faster
        self.scene.ink.shown(frame.request.sequence)

    def fail(self, failure: Failure) -> None:
        self.stats.errors += 1
        self.messages.say(failure.message)
        if self.stats.errors == 1:
            print(failure.trace or f"flowbrush: {failure.message}", file=sys.stderr)

    def draw(self, now_s: float) -> None:
        scene = self.scene
        scene.status = self.engine.status(self.params.model)
        while self.persistence.news:
            self.messages.say(self.persistence.news.popleft())
        scene.messages = self.messages.at(now_s)
        self.window.draw(scene, now_s)

    def began_anew(self) -> None:
        """Another model serves: all that is shown is of before."""
        self._effort.clear()
        self._dirty = self.canvas.whole
        self._epoch += 1

    def watch(self, now_s: float) -> None:
        """Count what the model did although nothing had changed and the picture was as fine as it gets."""
        calls = self.engine.calls
        if self._quiet_calls is not None and calls > self._quiet_calls:
            self.stats.idle_calls += calls - self._quiet_calls
        asked = self._asked
        rests = asked is not None and self._dirty.empty and not self.engine.busy
        rests = rests and self.picture is not None and self.picture.request.sequence == asked.sequence
        rests = rests and pacing.next_refinement(asked.steps, self.params.steps, now_s, 0.0) is None
        self._quiet_calls = calls if rests else None

    def header(self, weights: str = "") -> LogHeader:
        """The head of a stroke log that begins now. weights: hash of the model's weights."""
        return LogHeader(
            self.canvas.width, self.canvas.height, self.params.model, weights, self.params.as_dict()
        )

    def record_session(self, path: Path, weights: str = "") -> None:
        """Write a stroke log to this file from here on."""
        self.persistence.log_to(path, self.header(weights))

    def keep_sessions(self, store: LogStore, most_bytes: float, weights: str = "") -> None:
        """Write a stroke log to the shelf, and offer what a crash left there."""
        self.persistence.keep_logs(store, self.header(weights), most_bytes)
        self.scene.offer = OFFER if self.persistence.lost else ""

    def play(self, session: StrokeLog) -> None:
        """Paint by itself from a log, over and over, until the hand takes the brush."""
        self.script = DemoPlayer(session, (self.canvas.width, self.canvas.height))
        self.scene.demo = True
        logged, plain = (
            PictureParams.from_dict(session.header.settings, self.params.model),
            PictureParams(self.params.model),
        )
        names = ("strength", "seed", "prompt", "mood")  # what was asked for otherwise holds
        kept = {n: getattr(logged, n) for n in names if getattr(self.params, n) == getattr(plain, n)}
        self.params = self.scene.params = replace(self.params, **kept)
        self.asked |= {n: value for n, value in kept.items() if n in model_switcher.OWN}
        if session.fault:
            self.messages.say(session.fault)

    def close(self) -> bool:
        """Worker, film, logs and window, in this order; idempotent. Returns whether the worker ended."""
        self.persistence.end_film()  # it does not go on while the worker ends
        ended = self.engine.close()
        self.persistence.close(answered=not self.scene.offer)
        self.window.close()
        return ended
