"""What remains of a painting: stroke logs, the film, and the moments that one can go back to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from renderer.actions import Change, Event, InputError, OpenDocument
from renderer.canvas.open_raster import document_bytes
from renderer.canvas.snapshots import History
from renderer.picture_params import PictureParams
from renderer.scene import Scene
from renderer.stroke_log.log import LogHeader, LogWriter, read
from renderer.stroke_log.playback import Playback
from renderer.stroke_log.store import LogStore, StoredLog
from renderer.ui.window import Window

if TYPE_CHECKING:  # PyAV takes 0.13 s to load
    from renderer.recording.capture import WindowCapture

OFFER = "the last painting was not closed: Ctrl+R brings its paper back"


class Persistence:
    """Told of everything that is done and shown. news: lines to be told. arrived: actions from a read log."""

    def __init__(self, width: int, height: int):
        self.news: deque[str] = deque()
        self.arrived: deque[Change | OpenDocument] = deque()
        self.history = History(width, height)
        self.capture: WindowCapture | None = None
        self.opens: Callable[[], WindowCapture] | None = (
            None  # makes the camera when it is first of use, once
        )
        self._opening = Lock()
        self.store: LogStore | None = None
        self.lost: Path | None = None  # the log that a crash left
        self._logs: list[LogWriter | StoredLog] = []

    def log_to(self, path: Path, header: LogHeader) -> None:
        """Write a stroke log to a file that somebody named. Raises InputError."""
        self._logs.append(LogWriter(path, header))

    def keep_logs(self, store: LogStore, header: LogHeader, most_bytes: float) -> None:
        """Write a stroke log to the shelf, which is tidied first; find out whether a crash left one."""
        self.store = store
        store.tidy(most_bytes)
        self.lost = next(reversed(store.left()), None)
        self._logs.append(store.begin(header))

    def event(self, event: Event, canvas) -> None:
        """An action was carried out on the canvas."""
        self.history.event(event, canvas)
        for log in list(self._logs):
            log.write(event)
            if log.error:
                self.news.append(log.error)
                self._logs.remove(log)

    def open(self) -> WindowCapture | None:
        """The camera, made now if it was not yet; None where nothing is to be recorded."""
        with self._opening:
            if self.opens is not None:
                self.capture, self.opens = self.opens(), None
        return self.capture

    def shown(self, window: Window, scene: Scene, shown_s: float) -> None:
        """The window was updated. Before there is a picture, nothing happens that `keep that` would keep."""
        if self.opens is not None and scene.picture is not None and not self._opening.locked():
            Thread(target=self.open, name="camera", daemon=True).start()
        if self.capture is not None:
            self.capture.see(window, scene, shown_s)
            while self.capture.recorder.news:
                self.news.append(self.capture.recorder.news.popleft())

    def restore(
        self, path: Path, params: PictureParams, size: tuple[int, int], models: tuple[str, ...]
    ) -> None:
        """Read a log behind the loop; its paper and its settings arrive as actions. size: of the canvas."""
        Thread(target=self._restore, args=(path, params, size, models), name="restore", daemon=True).start()

    def _restore(
        self, path: Path, params: PictureParams, size: tuple[int, int], models: tuple[str, ...]
    ) -> None:
        try:
            session = read(path)
            playback = Playback(session, size)
        except InputError as error:
            self.news.append(str(error))
            return
        playback.to(float("inf"))
        if session.fault:
            self.news.append(session.fault)
        self.arrived += params.changes_to(playback.params, models)
        self.arrived.append(OpenDocument(document_bytes(playback.canvas.stack), playback.canvas.stack))

    def end_film(self) -> None:
        if self.capture is not None and self.capture.recorder.filming:
            self.capture.recorder.stop()

    def close(self, answered: bool = True) -> None:
        """End film and logs in order. Idempotent. answered: what a crash left need not be offered again."""
        if self.capture is not None:
            self.capture.recorder.close()
        for log in self._logs:
            log.close()
        if self.store is not None and answered:
            self.store.close()
