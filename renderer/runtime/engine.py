"""Model engine: serves requests with one model, loads others in the background, restarts after a crash.

Each model has its own thread, which loads it, renders all its pictures and closes it. No other thread
uses the model.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from models.api import Cancelled, Failure, Frame, Img2Img, ModelCard, ModelError, Request, Unreachable
from renderer.runtime.load_progress import Progress
from renderer.runtime.mailbox import Mailbox
from renderer.runtime.messages import NO_MESSAGE, Level, Message

WORKER_NICENESS = 5  # the window's thread has priority on a shared core
REST_S = 0.25  # without a request: longer than the gap between two points of a stroke
RESTART_AFTER_FRAMES = 100  # a model that rendered this many frames since a crash may be restarted again
Load = Callable[[], Img2Img]
EngineState = Literal["waiting", "loading", "ready", "failed"]


class Engine:
    """Serves requests with one model at a time.

    Another model is loaded in the background and takes over after rendering a first picture. The previous
    model is kept, so that switching back takes no time.

    state: "waiting" before the first load. error: one line on why the last load failed, or empty. loading:
    another model is being loaded while one serves. generation: incremented whenever another model, or the
    same one after a restart, begins to serve. calls: number of renders begun.
    """

    def __init__(self, on_idle: Callable[[], None] | None = None) -> None:
        """on_idle: called on the model's thread when no request waits."""
        self.state: EngineState = "waiting"
        self.error = ""
        self.card: ModelCard | None = None
        self.generation = self.calls = 0
        self.loading = False
        self.progress = Progress()  # progress of the newest load
        self._on_idle = on_idle
        self._mailbox = Mailbox()
        self._results: deque[Frame | Failure] = deque()
        self._lock = threading.RLock()  # guards the serving model and its state
        self._serving: _ModelThread | None = None
        self._previous: _ModelThread | None = None
        self._candidate: _ModelThread | None = None  # the model being loaded
        self._threads: list[_ModelThread] = []
        self._last_request: Request | None = None
        self._rendering = 0

    @property
    def name(self) -> str:
        """Name of the serving model; empty before there is one."""
        serving = self._serving
        return serving.model_name if serving is not None else ""

    def load(self, load: Load, name: str = "", progress: Progress | None = None) -> None:
        """Load a model in the background; it serves after its first picture. A load in progress is cancelled.

        name: nothing is loaded for the serving model; the previous model serves at once. A model without a
        name is not kept once another serves. progress: receives the progress of `load`.
        """
        self.cancel()
        retired: list[_ModelThread] = []
        with self._lock:
            self.progress = progress or Progress()
            if self._serving is not None and name and name == self._serving.model_name:
                self.error = ""
            elif self._previous is not None and name and name == self._previous.model_name:
                retired = self._swap(self._previous)
            else:
                self._candidate = _ModelThread(self, load, name, self.progress)
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._threads.append(self._candidate)
                self.error = ""
                self.loading = self._serving is not None
                if not self.loading:
                    self.state = "loading"
                self._candidate.start()
        for thread in retired:
            thread.stop()

    def cancel(self) -> None:
        """Cancel the load in progress; the present model keeps serving."""
        with self._lock:
            candidate, self._candidate, self.loading = self._candidate, None, False
        if candidate is not None:
            candidate.stop()

    def status(self, wanted: str) -> Message:
        """Message about a failed or running load; empty otherwise. wanted: name of the chosen model."""
        if self.error:
            return Message(self.error, Level.ERROR)
        text, card = self.progress.words or f"loading {wanted} ...", self.card
        if self.loading and card is not None:
            return Message(f"{text}; {card.name} goes on, Esc gives up")
        if self.state == "loading":
            return Message(text)
        return Message("no model is loaded yet") if self.state == "waiting" else NO_MESSAGE

    def submit(self, request: Request) -> None:
        """Submit a request. It replaces one that still waits. Never blocks."""
        self._mailbox.put(request)

    def poll(self) -> Frame | Failure | None:
        """The oldest result that has not been taken, or None."""
        return self._results.popleft() if self._results else None

    @property
    def busy(self) -> bool:
        """Whether a request waits or is being rendered."""
        return self._mailbox.waiting or self._rendering > 0

    def close(self, timeout_s: float = 2.0) -> bool:
        """End all model threads; returns whether they ended in time. Idempotent."""
        self._mailbox.close()
        self.cancel()
        for thread in self._threads:
            thread.stop()
        end_s = time.perf_counter() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.perf_counter()))
        return not any(thread.is_alive() for thread in self._threads)

    # Called by the model threads

    def serves(self, thread: _ModelThread) -> bool:
        return self._serving is thread

    def load_failed(self, thread: _ModelThread, error: str) -> None:
        """Record that the load of this thread's model failed; ignored if the model is no longer wanted."""
        with self._lock:
            if thread is not self._candidate:
                return
            self._candidate, self.loading, self.error = None, False, error
            if self._serving is None:
                self.state = "failed"
        thread.progress.failed(error)

    def take_over(self, thread: _ModelThread, card: ModelCard) -> bool:
        """Make a loaded model serve. Returns False if it is no longer wanted."""
        with self._lock:
            if thread is not self._candidate:
                return False
            thread.card = card
            retired = self._swap(thread)
        for old in retired:  # after the swap, since closing a model may take long
            old.stop()
        return True

    def restarted(self, thread: _ModelThread, card: ModelCard | None, error: str = "") -> None:
        """Record that the serving model was reloaded after a crash, or that this failed."""
        with self._lock:
            thread.card = card or thread.card
            if thread is self._serving:
                self.error = error
                if card is not None:
                    self.card, self.generation = card, self.generation + 1
        if error:
            thread.progress.failed(error)

    def first_request(self) -> Request | None:
        """Request for a candidate's first picture; None while no model serves."""
        return self._last_request if self._serving is not None else None

    def next_request(self, thread: _ModelThread, timeout_s: float | None) -> Request | None:
        """Wait for the next request; None after the timeout, or when this thread stops serving."""
        return self._mailbox.take(timeout_s, stop=lambda: thread.stopped or not self.serves(thread))

    def begin_render(self, request: Request) -> None:
        with self._lock:
            self.calls += 1
            self._rendering += 1
            self._last_request = request

    def end_render(self, result: Frame | Failure | None, *, again: bool = False) -> None:
        """Take the result of a request: a picture, a failure, or None if it was cancelled.

        again: retry a failed request, unless a newer one waits.
        """
        if again and result is not None:
            self._mailbox.put_back(result.request)
        elif isinstance(result, Failure):
            self._mailbox.give_back(result.request.dirty)
        if result is not None:
            self._results.append(result)
        with self._lock:
            self._rendering -= 1
        if not self.busy and self._on_idle is not None:
            self._on_idle()

    def outdated(self, request: Request) -> bool:
        """Whether a request is a refinement while a newer request waits, so that it can be cancelled."""
        return request.dirty.empty and self._mailbox.waiting

    def _swap(self, thread: _ModelThread) -> list[_ModelThread]:
        """Make this thread's model serve. Call it with the lock held. Returns the threads to stop."""
        before, previous = self._serving, self._previous
        keep = before is not None and before.model_name and thread.model_name
        self._previous = before if keep else None
        self._serving, self._candidate = thread, None
        self.card, self.generation = thread.card, self.generation + 1
        self.state, self.error, self.loading = "ready", "", False
        self._mailbox.wake()
        thread.wake()
        return [old for old in (before, previous) if old is not None and old not in (self._previous, thread)]


class _ModelThread(threading.Thread):
    """The thread of one model: loads it, renders its pictures, closes it."""

    def __init__(self, engine: Engine, load: Load, model_name: str, progress: Progress):
        super().__init__(name="engine", daemon=True)
        self.model_name, self.progress = model_name, progress
        self.card: ModelCard | None = None
        self.stopped = False
        self._engine, self._load = engine, load
        self._awake = threading.Event()
        self._may_restart, self._good_frames = True, 0

    def wake(self) -> None:
        self._awake.set()

    def stop(self) -> None:
        """Ask the thread to close the model after the current frame and end. Idempotent."""
        self.stopped = self.progress.cancelled = True
        self._engine._mailbox.wake()
        self._awake.set()

    def run(self) -> None:
        lower_priority()
        model = None
        try:
            model = self._load()
            self._render_first(model)
        except BaseException as error:  # errors in a model are reported, not raised
            self._engine.load_failed(self, one_line(error))
        else:
            if self._engine.take_over(self, model.card):
                model = self._serve(model)
        if model is not None:
            model.close()

    def _render_first(self, model: Img2Img) -> None:
        """Render a picture before taking over, since the first one is slow."""
        request = self._engine.first_request()
        if request is None:
            return
        self.progress(f"{self.model_name} makes its first picture")
        steps = min(max(request.steps, model.card.steps[0]), model.card.steps[-1])
        model.render(replace(request, steps=steps), cancelled=lambda: self.stopped)

    def _serve(self, model: Img2Img) -> Img2Img:
        """Serve until stopped; sleep while another model serves. Returns the model to close."""
        while not self.stopped:
            self._awake.clear()
            rest = getattr(model, "rest", None)  # optional: work that the model postpones until a pause
            request = self._engine.next_request(self, None if rest is None else REST_S)
            if request is not None:
                model = self._render(model, request)
            elif self.stopped:
                break
            elif not self._engine.serves(self):
                self._awake.wait()
            elif rest is not None:
                self._rest(rest)
        return model

    def _rest(self, rest: Callable[[], None]) -> None:
        try:
            rest()
        except BaseException as error:  # the next frame shows whether the model still works
            self._engine.restarted(self, None, one_line(error))

    def _render(self, model: Img2Img, request: Request) -> Img2Img:
        """Render one picture; after a crash reload the model if a restart is allowed. Returns the model."""
        engine, result = self._engine, None
        crashed = again = False
        engine.begin_render(request)
        try:
            result = model.render(request, cancelled=lambda: engine.outdated(request))
            self._good_frames += 1
            self._may_restart |= self._good_frames >= RESTART_AFTER_FRAMES
        except Cancelled:
            pass
        except Unreachable as error:
            result, again = Failure(request, one_line(error)), True
        except ModelError as error:
            result = Failure(request, one_line(error))
        except BaseException as error:
            result, crashed = Failure(request, one_line(error), traceback.format_exc()), True
        engine.end_render(result, again=again)
        return self._restart(model) if crashed and self._may_restart else model

    def _restart(self, model: Img2Img) -> Img2Img:
        self._may_restart, self._good_frames = False, 0
        try:
            fresh = self._load()
        except BaseException as error:
            if not self.stopped:
                self._engine.restarted(self, None, one_line(error))
            return model
        model.close()
        self._engine.restarted(self, fresh.card)
        return fresh


def lower_priority() -> None:
    """Lower the priority of this thread below the window's. Only Linux has niceness per thread."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + WORKER_NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, min(19, niceness))


def one_line(error: BaseException) -> str:
    """The first line of an error's text, with the name of its type unless it is a ModelError."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"
