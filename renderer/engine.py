"""The worker thread: mailbox -> model -> results. Failures come back as values; nothing here draws."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from models.api import Cancelled, Failure, Frame, Img2Img, ModelCard, ModelError, Request
from renderer.mailbox import Mailbox

WORKER_NICENESS = 5  # the thread that draws goes first when both want the core
IDLE_S = 0.05  # how often an idle worker looks whether another model is wanted


class Engine:
    """Serves one model at a time. A new one is loaded behind the old, which serves until it is there.

    state: "waiting", "loading", "ready" or "failed". error: the reason in one line, when something failed.
    """

    def __init__(self) -> None:
        self.state, self.error = "waiting", ""
        self.card: ModelCard | None = None
        self.calls = 0  # renders begun
        self._mailbox = Mailbox()
        self._results: deque[Frame | Failure] = deque()
        self._loads: deque[Callable[[], Img2Img]] = deque(maxlen=1)  # the newest wish alone
        self._model: Img2Img | None = None
        self._source: Callable[[], Img2Img] | None = None  # how the present model was loaded
        self._serving = False
        self._restarts_left = 1
        self._thread: threading.Thread | None = None

    def load(self, load: Callable[[], Img2Img]) -> None:
        """Load this model on the worker's thread, in place of the present one."""
        self.state = "loading"
        self._loads.append(load)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()

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
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while not self._mailbox.closed:
            if self._loads:
                self._try_load(self._loads.pop())
            if self._model is None:
                time.sleep(IDLE_S)
                continue
            request = self._mailbox.take(timeout_s=IDLE_S)
            if request is None:
                continue
            self._serving = True
            self._serve(request)
            self._serving = False
        if self._model is not None:
            self._model.close()

    def _try_load(self, load: Callable[[], Img2Img]) -> None:
        try:
            model = load()
        except BaseException as error:  # nothing that happens in a model may end this thread
            self.error = one_line(error)
            self.state = "ready" if self._model is not None else "failed"
            return
        if self._model is not None:
            self._model.close()
        self._model, self._source = model, load
        self.card, self.state, self.error = model.card, "ready", ""

    def _serve(self, request: Request) -> None:
        self.calls += 1
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
