"""The loop. The life of a stroke, top to bottom: poll, paint, submit, collect, draw, flip, pace."""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from models.api import NOTHING, Failure, Frame, Img2Img, Request
from renderer import pacing, pictures
from renderer.actions import EDITS, Change, Command, Event, InputError, Paste
from renderer.canvas import Canvas
from renderer.demo import Script
from renderer.engine import Engine
from renderer.hud import Meter
from renderer.ink import WetInk
from renderer.layout import VIEWS
from renderer.scene import Scene
from renderer.session import Header, Session, SessionWriter, rounded
from renderer.settings import Look
from renderer.window import Window

MESSAGE_S = 6.0
LOG_EVERY_ERRORS = 100


class App:
    """One painting: the paper, the model behind it, and the window that shows both."""

    def __init__(
        self,
        window: Window,
        load: Callable[[str], Callable[[], Img2Img]],
        look: Look,
        *,
        size: tuple[int, int] = (512, 512),
        save_folder: Path | None = None,
        models: tuple[str, ...] = ("painter",),
    ):
        """load: model name -> function that loads it, called on the worker's thread."""
        self.window, self._load, self.look = window, load, look
        self.canvas = Canvas(*size)
        self.engine, self.meter = Engine(), Meter()
        ink = WetInk(*size)
        self.scene = Scene(self.canvas, ink, look, self.meter, models=models)
        self.save_folder = save_folder or Path.cwd()
        self.writer: SessionWriter | None = None
        self.script: Script | None = None
        self.picture: Frame | None = None
        self.running = True
        self.errors = 0
        self.started = False  # the worker was asked to load
        self._sequence = self._epoch = 0
        self._quiet_calls: int | None = None  # the model's calls when there was nothing left to do
        self._dirty = NOTHING
        self._last_edit_s = time.monotonic()
        self._last_flip_s = 0.0
        self._asked: Request | None = None  # newest request
        self._effort: dict[tuple[int, int], float] = {}  # (steps, side) -> mean frame time
        self._choice = (look.steps, size[0])
        self._messages: list[tuple[float, str]] = []

    def step(self) -> None:
        """One tick that survives its errors: the paper is never lost to one."""
        try:
            self.tick()
        except InputError as error:
            self.say(str(error))
        except Exception:
            self.complain()

    def tick(self) -> None:
        """One turn of the loop. Never waits for the model."""
        wait_s = pacing.sleep_s(time.monotonic(), self._last_flip_s, self.window.display_hz)
        if wait_s:
            time.sleep(wait_s)
        began_s = time.monotonic()
        for event in self.events(began_s):
            self.apply(event)
        self.submit(began_s)
        self.collect(began_s)
        self.welcome()
        self.watch(began_s)
        self.draw(began_s)
        self._last_flip_s = self.window.flip()
        shown = self.picture.request.sequence if self.picture else -1
        self.meter.flip(self._last_flip_s, shown)
        self.meter.tick_ms.append((self._last_flip_s - began_s) * 1e3)
        if not self.started:  # torch is imported by the worker, after the first painted frame
            self.started = True
            self.engine.load(self._load(self.look.model))

    def events(self, now_s: float) -> list[Event]:
        """What the hand did; a demo plays until the hand does something."""
        mine = self.window.poll(now_s, self.scene)
        if self.script is None:
            return mine
        if mine:
            self.script = None
            self.scene.demo = False
            self.say("the brush is yours")
            return mine
        return self.script.due(now_s)

    def apply(self, event: Event) -> None:
        """Carry out one action and log it, in the form in which the log can hold it."""
        action = rounded(event.action)
        if isinstance(action, Command):
            self.obey(action, event.time_s)
        elif isinstance(action, Change):
            self.change(action)
            self.log(Event(action, event.time_s))
        elif isinstance(action, EDITS):
            self.edit(action, event.time_s)
            self.log(Event(action, event.time_s))

    def edit(self, action, time_s: float) -> None:
        before = self.canvas.pixels.copy()
        box = self.canvas.apply(action)
        if box.empty or np.array_equal(before[box.slices], self.canvas.pixels[box.slices]):
            return
        self._dirty = self._dirty.union(box)
        self._last_edit_s = time.monotonic()
        coming = self._sequence + 1  # this tick's request will contain it
        self.scene.ink.touch(box, before[box.slices], self.canvas.pixels[box.slices], coming)
        self.scene.changed = self.scene.changed.union(box)
        if self.engine.state == "ready":
            self.meter.input(time_s, coming)

    def change(self, action: Change) -> None:
        before = self.look
        self.look = self.scene.look = before.change(action.name, action.value)
        if self.look == before:
            return
        self._last_edit_s = time.monotonic()
        self._dirty = self.canvas.whole
        if self.look.starts_epoch(before):
            self._epoch += 1
        if self.look.model != before.model and self.started:
            self.engine.load(self._load(self.look.model))

    def submit(self, now_s: float) -> None:
        """Ask for a picture if anything changed, or for a finer one if the pen rests; else for nothing."""
        if self.engine.state != "ready":
            return
        side = self.canvas.width
        if not self._dirty.empty:
            wanted = self.look.steps
            self._choice = pacing.choose_effort(
                self.look.target_fps, self._effort, wanted, side, self._choice
            )
            self.ask(*self._choice)
        elif self._asked is not None and not self.engine.busy and self.picture is not None:
            shown = self.picture.request
            if shown.sequence != self._asked.sequence:
                return
            steps = pacing.next_refinement(shown.steps, self.look.steps, now_s, self._last_edit_s)
            if steps is not None and steps in self.engine.card.steps:
                self.ask(steps, side)
            elif shown.paper.shape[1] != side and now_s - self._last_edit_s > pacing.REST_S:
                self.ask(self.look.steps, side)

    def ask(self, steps: int, side: int) -> None:
        self._sequence += 1
        paper = self.canvas.snapshot()
        if side != self.canvas.width:
            height = max(pacing.SMALLEST_SIDE_PX, self.canvas.height * side // self.canvas.width // 32 * 32)
            paper = cv2.resize(paper, (side, height), interpolation=cv2.INTER_AREA)
            paper.flags.writeable = False
        self._asked = self.look.request(
            paper, sequence=self._sequence, epoch=self._epoch, dirty=self._dirty, steps=steps
        )
        self._dirty = NOTHING
        self.engine.submit(self._asked)

    def collect(self, now_s: float) -> None:
        """Take what the worker has; refuse what is older than what is shown, or of another epoch."""
        while (result := self.engine.poll()) is not None:
            if isinstance(result, Failure):
                self.fail(result)
                continue
            request = result.request
            newest = self.picture.request.sequence if self.picture else -1
            if request.epoch != self._epoch or request.sequence <= newest:
                self.meter.stale += 1
                continue
            self.show(result, now_s)

    def show(self, frame: Frame, now_s: float) -> None:
        self.picture = frame
        self.meter.frame(now_s, frame.stage_ms)
        key = (frame.request.steps, frame.picture.shape[1])
        self._effort = pacing.learnt(self._effort, key, sum(frame.stage_ms.values()))
        picture = frame.picture
        if picture.shape[:2] != (self.canvas.height, self.canvas.width):
            size = (self.canvas.width, self.canvas.height)
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        self.scene.picture, self.scene.picture_new = picture, True
        self.scene.notes = frame.notes
        self.scene.ink.shown(frame.request.sequence)

    def fail(self, failure: Failure) -> None:
        self.meter.errors += 1
        self.say(failure.message)
        if failure.trace and self.meter.errors == 1:
            print(failure.trace, file=sys.stderr)

    def draw(self, now_s: float) -> None:
        scene, engine = self.scene, self.engine
        waiting = {"waiting": "the model waits", "loading": f"loading {self.look.model} ..."}
        scene.status = engine.error or waiting.get(engine.state, "")
        self._messages = [(until, text) for until, text in self._messages if until > now_s]
        scene.messages = [text for _, text in self._messages]
        self.window.draw(scene, now_s)

    def welcome(self) -> None:
        """A model is there that was not before: it begins with the paper as it is, blank paper too."""
        card = self.engine.card
        if card is not None and card is not self.scene.card:
            self.scene.card = card
            self._effort.clear()
            self._dirty = self.canvas.whole
            self._epoch += 1

    def watch(self, now_s: float) -> None:
        """Count what the model did although nothing had changed and the picture was as fine as it gets."""
        calls = self.engine.calls
        if self._quiet_calls is not None and calls > self._quiet_calls:
            self.meter.idle_calls += calls - self._quiet_calls
        finest = self.picture is not None and self.picture.request is self._asked
        finest = finest and pacing.next_refinement(self._asked.steps, self.look.steps, now_s, 0.0) is None
        rests = finest and self._dirty.empty and not self.engine.busy
        self._quiet_calls = calls if rests else None

    def obey(self, command: Command, time_s: float) -> None:
        """What is asked of the window or the program; nothing here changes the log."""
        scene = self.scene
        match command.name:
            case "quit":
                self.running = False
            case "view":
                scene.view = VIEWS[(VIEWS.index(scene.view) + 1) % len(VIEWS)]
            case "full":
                scene.view = "side" if scene.view == "picture" else "picture"
                self.window.full_screen()
            case "back":
                if scene.show_help:
                    scene.show_help = False
                elif scene.view == "picture":
                    self.obey(Command("full"), time_s)
            case "hud":
                scene.show_hud = not scene.show_hud
            case "help":
                scene.show_help = not scene.show_help
            case "prompt" | "color" | "open":
                self.window.ask(command.name)
            case "model":
                at = scene.models.index(self.look.model) if self.look.model in scene.models else -1
                self.apply(Event(Change("model", scene.models[(at + 1) % len(scene.models)]), time_s))
            case "dice":
                self.apply(Event(Change("seed", random.randrange(1 << 31)), time_s))
            case "pick":
                color = self.canvas.color_at(*command.value)
                if color is not None:
                    self.window.hand.take(color)
            case "load":
                self.apply(Event(Paste(pictures.read_bytes(Path(str(command.value)))), time_s))
            case "save":
                self.save()

    def save(self) -> None:
        """Write picture and paper as PNG, the settings inside."""
        if self.picture is None:
            raise InputError("there is no picture to save yet")
        request, card = self.picture.request, self.engine.card
        stem = self.save_folder / time.strftime("flowbrush-%Y%m%d-%H%M%S")
        about = {**self.look.as_dict(), "steps": request.steps, "model": self.look.model}
        about["weights"] = card.weights_hash if card else ""
        pictures.write_png(stem.with_suffix(".png"), self.picture.picture, about)
        pictures.write_png(stem.with_name(stem.name + "-paper.png"), request.paper, about)
        self.say(f"saved {stem.with_suffix('.png')}")

    def log(self, event: Event) -> None:
        if self.writer is not None:
            self.writer.write(event)
            if self.writer.error:
                self.say(self.writer.error)
                self.writer = None

    def record_session(self, path: Path) -> None:
        """Write the stroke log from here on, beginning with the paper as it is."""
        model, weights = self.look.model, self.engine.card.weights_hash if self.engine.card else ""
        header = Header(self.canvas.width, self.canvas.height, model, weights, self.look.as_dict())
        self.writer = SessionWriter(path, header)

    def play(self, session: Session) -> None:
        """Paint by itself from a log, over and over, until the hand takes the brush."""
        self.script = Script(session, (self.canvas.width, self.canvas.height))
        self.scene.demo = True

    def say(self, text: str) -> None:
        self._messages.append((time.monotonic() + MESSAGE_S, text))

    def complain(self) -> None:
        """An error of the loop: one traceback, then counted lines."""
        self.errors += 1
        if self.errors == 1:
            traceback.print_exc()
        elif self.errors % LOG_EVERY_ERRORS == 2:
            print(f"flowbrush: {self.errors} errors in the loop: {sys.exc_info()[1]}", file=sys.stderr)
        self.say(f"error {self.errors}: {sys.exc_info()[1]}")

    def close(self) -> None:
        """Worker, log and window, in this order; idempotent."""
        self.engine.close()
        if self.writer is not None:
            self.writer.close()
        self.window.close()
