"""The worker thread: mailbox -> model -> results. Failures come back as values; nothing here draws."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from models.api import Cancelled, Failure, Frame, Img2Img, ModelCard, ModelError, Request
from renderer.runtime.load_progress import Progress
from renderer.runtime.mailbox import Mailbox

WORKER_NICENESS = 5  # the thread that draws goes first when both want the core
Load = Callable[[], Img2Img]
REST_S = 0.25  # without a request: a pause between two strokes, not between two points of one
IDLE_S = 0.05  # how often an idle worker looks whether another model is wanted


class Engine:
    """Serves one model at a time. A new one is loaded behind the old, which serves until the new one has
    rendered a first frame; the one before is kept, so that the way back takes no time.

    state: "waiting", "loading", "ready" or "failed". error: the reason in one line, when something failed.
    loading: another model is on its way behind the one that serves. at_rest: called by the worker when
    nothing is left to do.
    """

    def __init__(self) -> None:
        self.state, self.error = "waiting", ""
        self.card: ModelCard | None = None
        self.calls = 0  # renders begun
        self.loading = False
        self.progress = Progress()  # of the newest load
        self.at_rest: Callable[[], None] = lambda: None
        self._mailbox = Mailbox()
        self._results: deque[Frame | Failure] = deque()
        self._loads: deque[tuple[Load, str]] = deque(maxlen=1)  # the newest wish alone
        self._made: deque[tuple[Img2Img, Load, str]] = deque(maxlen=1)  # loaded behind, not yet serving
        self._model: Img2Img | None = None
        self._source: tuple[Load, str] | None = None  # how the present model was loaded, and its name
        self._kept: tuple[Img2Img, Load, str] | None = None  # the model before
        self._last: Request | None = None
        self._wish = 0  # counts what was asked to load: an older one is dropped where it comes
        self._lock = threading.Lock()  # over the wish and what came of it
        self._behind: threading.Thread | None = None
        self._serving = False
        self._restarts_left = 1
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """Of the model that serves, as it was asked for; empty before there is one."""
        return self._source[1] if self._source is not None else ""

    def load(self, load: Load, name: str = "", progress: Progress | None = None) -> None:
        """Load this model in place of the present one, behind it where there is one.

        name: of the model. Asked for the one that serves, this gives up what is being loaded; asked for the
        one before, it is taken as it is. Without a name the model before is not kept. progress: what `load`
        tells of itself.
        """
        self.cancel()
        self.progress = progress or Progress()
        if self._model is None:
            self.state = "loading"
            self._loads.append((load, name))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
        elif name and name == self._source[1]:
            self.error = ""
        elif name and self._kept is not None and name == self._kept[2]:
            self._made.append(self._kept)
        else:
            self.loading, self.error = True, ""
            work = (load, name, self._wish, self.progress)
            self._behind = threading.Thread(target=self._load_behind, args=work, name="loading", daemon=True)
            self._behind.start()

    def cancel(self) -> None:
        """Give up what is being loaded; the present model goes on."""
        with self._lock:
            self._wish += 1
            self.progress.cancelled |= self.loading or self._model is None
            self._made.clear()
            self.loading = False

    def status(self, wanted: str) -> str:
        """What failed or is waited for, in one line; empty when all is well. wanted: the model asked for."""
        if self.error:
            return self.error
        words = self.progress.words or f"loading {wanted} ..."
        if self.loading:
            return f"{words}; {self.card.name} goes on, Esc gives up"
        return {"waiting": "the model waits", "loading": words}.get(self.state, "")

    def submit(self, request: Request) -> None:
        self._mailbox.put(request)

    def poll(self) -> Frame | Failure | None:
        """The oldest result not yet taken, or None."""
        return self._results.popleft() if self._results else None

    @property
    def busy(self) -> bool:
        """A request waits or is being served."""
        return self._mailbox.waiting or self._serving

    def close(self, timeout_s: float = 2.0) -> bool:
        """Let the worker finish what it does and end; returns whether it did in time. Idempotent."""
        self._mailbox.close()
        self.cancel()
        threads = [thread for thread in (self._thread, self._behind) if thread is not None]
        end_s = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        gc.unfreeze()  # what switching.welcome froze; or Triton complains of it when the program ends
        return not any(thread.is_alive() for thread in threads)

    def _run(self) -> None:
        lower_priority()
        served_s = time.perf_counter()
        while not self._mailbox.closed:
            if self._loads:
                self._try_load(*self._loads.pop())
            if self._made:
                self._take()
            if self._model is None:
                time.sleep(IDLE_S)
                continue
            request = self._mailbox.take(timeout_s=IDLE_S)
            if request is None:
                self._rest(served_s)
                continue
            self._serving = True
            self._serve(request)
            served_s = time.perf_counter()
            self._serving = False
            if not self.busy:
                self.at_rest()
        for model in (self._model, self._kept and self._kept[0]):
            if model is not None:
                model.close()

    def _rest(self, served_s: float) -> None:
        """Let the model do what it put off, once no request has come for REST_S since the last was served."""
        rest = getattr(self._model, "rest", None)
        if rest is None or time.perf_counter() - served_s < REST_S:
            return
        try:
            rest()
        except BaseException as error:  # the next frame says whether the model still works
            self.error = one_line(error)

    def _try_load(self, load: Load, name: str) -> None:
        try:
            model = load()
        except Cancelled:
            return
        except BaseException as error:  # nothing that happens in a model may end this thread
            self.error = one_line(error)
            self.state = "ready" if self._model is not None else "failed"
            self.progress.failed(self.error)
            return
        if self._model is not None:
            self._model.close()
        self._model, self._source = model, (load, name)
        self.card, self.state, self.error = model.card, "ready", ""

    def _load_behind(self, load: Load, name: str, wish: int, progress: Progress) -> None:
        """Load a model and have it make a picture; the worker takes it then."""
        lower_priority()
        model, error = None, ""
        try:
            model = load()
            if self._last is not None:
                progress(f"{name} makes its first picture")
                steps = min(max(self._last.steps, model.card.steps[0]), model.card.steps[-1])
                model.render(replace(self._last, steps=steps), cancelled=lambda: wish != self._wish)
        except BaseException as problem:  # it is told where the present model's are
            error = one_line(problem)
        with self._lock:
            wanted = wish == self._wish and not self._mailbox.closed
            if wanted and not error:
                self._made.append((model, load, name))
                return
            if wanted:
                self.error, self.loading = error, False
                progress.failed(error)
        if model is not None:
            model.close()

    def _take(self) -> None:
        """Serve with what was loaded behind; keep the model before, if both have names."""
        with self._lock:
            if not self._made:
                return
            model, load, name = self._made.popleft()
            self.loading = False
        before = (self._model, *self._source)
        kept = None if self._kept is None or self._kept[0] is model else self._kept[0]
        self._kept = before if name and before[2] else None
        for old in (kept, None if self._kept else before[0]):
            if old is not None:
                old.close()
        self._model, self._source = model, (load, name)
        self.card, self.error = model.card, ""

    def _serve(self, request: Request) -> None:
        self.calls += 1
        self._last = request
        try:
            self._results.append(self._model.render(request, cancelled=lambda: self._outdated(request)))
            return
        except Cancelled:
            return
        except ModelError as error:
            failure = Failure(request, one_line(error))
        except BaseException as error:
            failure = Failure(request, one_line(error), traceback.format_exc())
            if self._restarts_left:
                self._restarts_left -= 1
                self._loads.append(self._source)
        self._mailbox.give_back(request.dirty)
        self._results.append(failure)

    def _outdated(self, request: Request) -> bool:
        """A refinement, which shows nothing new, gives way to a request that does."""
        return request.dirty.empty and self._mailbox.waiting


def lower_priority() -> None:
    """Let the thread that draws go first. Only Linux gives each thread its own niceness."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + WORKER_NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, min(19, niceness))


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"
