"""Owns stroke logs, video recording, saved pictures and the history for rewind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from renderer.actions import Change, Event, InputError, OpenDocument, Paste
from renderer.canvas.canvas import Canvas
from renderer.canvas.import_image import read_import
from renderer.canvas.open_raster import document_bytes
from renderer.canvas.snapshots import History
from renderer.files import png
from renderer.files.outputs import write_whole
from renderer.picture_params import PictureParams
from renderer.runtime.messages import Level, Messages
from renderer.scene import Scene
from renderer.stroke_log.log import LogHeader, LogWriter, read
from renderer.stroke_log.playback import Playback
from renderer.stroke_log.store import LogStore, StoredLog

if TYPE_CHECKING:  # PyAV takes 0.13 s to load
    from renderer.recording.capture import WindowCapture, WindowFrames

OFFER = "the last painting was not closed: Ctrl+R brings its paper back"
JOIN_S = 20.0  # longest wait for pictures being saved, at exit


@dataclass(frozen=True)
class Files:
    """Options for the files that a run writes.

    store: folder of the automatic stroke logs; None for none. store_bytes: its largest size. log: path of a
    stroke log that the user named. weights: hash of the model's weights, for the log headers. open_capture:
    creates the window recording; it imports the video library, so it is called on a thread.
    """

    store: LogStore | None = None
    store_bytes: float = 200e6
    log: Path | None = None
    weights: str = ""
    open_capture: Callable[[], WindowCapture] | None = None


class Persistence:
    """Writes logs, recordings and pictures; receives every applied action and every window update.

    arrived: actions made by a thread (a restored paper, an opened image), for the loop to apply.
    lost: the stroke log left by a crash.
    """

    def __init__(self, canvas: Canvas, scene: Scene, messages: Messages, *, files: Files | None = None):
        """Raises InputError if the log that the user named cannot be written."""
        files = files or Files()
        self.history = History(canvas.width, canvas.height)
        self.arrived: deque[Change | Paste | OpenDocument] = deque()
        self.capture: WindowCapture | None = None
        self.lost: Path | None = None
        self._canvas, self._scene, self._messages = canvas, scene, messages
        self._weights, self._open_capture = files.weights, files.open_capture
        self._opening = Lock()
        self._store: LogStore | None = None
        self._logs: list[LogWriter | StoredLog] = []
        self._saving: list[Thread] = []
        if files.store is not None:
            self.log_to_store(files.store, files.store_bytes)
        if files.log is not None:
            self.log_to(files.log)

    # Stroke logs

    def header(self) -> LogHeader:
        """Header of a stroke log that begins now."""
        params = self._scene.params
        size = (self._canvas.width, self._canvas.height)
        return LogHeader(*size, params.model, self._weights, params.as_dict())

    def log_to(self, path: Path) -> None:
        """Begin a stroke log in this file. Raises InputError."""
        self._logs.append(LogWriter(path, self.header()))

    def log_to_store(self, store: LogStore, most_bytes: float) -> None:
        """Begin a stroke log in the store; first remove its oldest logs and offer one left by a crash."""
        self._store = store
        store.prune(most_bytes)
        self.lost = next(reversed(store.crashed()), None)
        self._scene.offer = OFFER if self.lost else ""
        self._logs.append(store.begin(self.header()))

    def event(self, event: Event) -> None:
        """Log an applied action and keep it for rewind."""
        match event.action:  # decoded layers take 16 MB each at 2048 pixels: keep only the file
            case Paste(png=data):
                event = Event(Paste(data), event.time_s)
            case OpenDocument(ora=data):
                event = Event(OpenDocument(data), event.time_s)
        self.history.event(event, self._canvas)
        for log in list(self._logs):
            log.write(event)
            if log.error:
                self._messages.add(log.error, Level.ERROR)
                self._logs.remove(log)

    # Actions that a thread prepares

    def open_image(self, path: Path) -> None:
        """Read an image, saved paper or OpenRaster file on a thread; the result arrives as an edit."""
        self._messages.add(f"opening {path.name} ...")
        self._start("open", lambda: self._arrive_image(png.read_bytes(path)))

    def restore(self, path: Path) -> None:
        """Read a stroke log on a thread; its paper and its settings arrive as actions."""
        self._start("restore", lambda: self._arrive_paper(path))

    def restore_lost(self) -> None:
        """Restore the log left by a crash. Raises InputError if there is none."""
        if self.lost is None:
            raise InputError("no painting was left by a crash")
        self.restore(self.lost)
        self.lost, self._scene.offer = None, ""

    def _arrive_image(self, data: bytes) -> None:
        edit, about = read_import(data, (self._canvas.width, self._canvas.height))
        params = self._scene.params
        self.arrived += params.changes_to(PictureParams.from_dict(about, params.model, params), ())
        self.arrived.append(edit)

    def _arrive_paper(self, path: Path) -> None:
        session = read(path)
        playback = Playback(session, (self._canvas.width, self._canvas.height))
        playback.advance(float("inf"))
        if session.fault:
            self._messages.add(session.fault, Level.WARNING)
        self.arrived += self._scene.params.changes_to(playback.params, self._scene.models)
        stack = playback.canvas.stack
        self.arrived.append(OpenDocument(document_bytes(stack), stack))

    # Pictures

    def save_files(self, files: Mapping[Path, Callable[[], bytes]], done: str) -> None:
        """Encode and write files on a thread. done: message shown afterwards."""

        def save() -> None:
            for path, encode in files.items():
                write_whole(path, encode())
            self._messages.add(done)

        self._saving = [thread for thread in self._saving if thread.is_alive()]
        self._saving.append(self._start("save", save))

    # Video

    def open_recording(self) -> WindowCapture | None:
        """The window capture, created at the first call; None if recording is not available."""
        with self._opening:
            if self._open_capture is not None:
                self.capture, self._open_capture = self._open_capture(), None
        return self.capture

    def after_flip(self, frames: WindowFrames, shown_s: float, model_busy: bool) -> None:
        """Offer the updated window to the recording, which begins with the first picture."""
        scene = self._scene
        if self._open_capture is not None and scene.picture is not None and not self._opening.locked():
            self._start("capture", self.open_recording)
        if self.capture is not None:
            self.capture.update(frames, shown_s, model_busy)
            scene.recording = self.capture.status(shown_s)
            while self.capture.recorder.news:
                self._messages.add_message(self.capture.recorder.news.popleft())

    def model_idle(self) -> None:
        """Encode queued pictures while the model is idle. Called on the model's thread."""
        capture = self.capture
        if capture is not None:
            capture.recorder.pulse(True)

    def end_recording(self) -> None:
        if self.capture is not None and self.capture.recorder.recording:
            self.capture.recorder.stop()

    def close(self) -> None:
        """Close recording and logs in order, and wait for pictures being saved. Idempotent."""
        if self.capture is not None:
            self.capture.recorder.close()
        for log in self._logs:
            log.close()
        if self._store is not None and not self._scene.offer:  # an unanswered offer is repeated next time
            self._store.close()
        for thread in self._saving:
            thread.join(JOIN_S)

    def _start(self, name: str, work: Callable[[], object]) -> Thread:
        """Run a function on a thread; its errors become messages."""

        def run() -> None:
            try:
                work()
            except InputError as error:
                self._messages.add(str(error), Level.ERROR)
            except Exception:  # a bug: report it with its traceback
                self._messages.report_exception()

        thread = Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread
