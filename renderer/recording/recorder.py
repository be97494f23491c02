"""Video recorder: takes pictures from the loop and encodes them on a thread, to a file and a ring buffer.

The loop never waits: if the queue is full a picture is dropped and counted. An error of the encoder or the
file ends the recording with a message; the part already written stays playable.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import av
import cv2
import numpy as np

from renderer.actions import InputError
from renderer.recording.container import VideoFile
from renderer.recording.encoder import LIVE, Encoder, Packet, even, planar
from renderer.recording.packet_ring import PacketRing
from renderer.recording.status import RecordingState
from renderer.runtime.messages import Level, Message

QUEUE, QUEUE_BYTES = 32, 64 << 20  # limits of the queue: about a second of pictures, fewer if large
REPEAT_S = 0.4  # interval at which an unchanged picture is repeated
FIRST_REPEAT_S = 0.16  # the same at the beginning: a picture reaches the disk when the next one is encoded
BEGIN_MS = 500  # length of this beginning
LATE_S = 0.1  # a picture may arrive this late after it was shown: repeats stay this far behind the clock
CLOSE_S = 5.0
PATIENCE_S = 0.4  # longest time that a picture waits for an idle model
STREAM_PATIENCE_S = 0.1  # the same while streaming


class PacketOutput(Protocol):
    """Receives the encoder's packets without waiting. wants_key: it needs a key frame to continue."""

    wants_key: bool

    def offer(self, packet: Packet, like: av.VideoStream) -> None: ...


Task = Callable[[], None]


class Picture(NamedTuple):
    """A picture, (H, W, 3) RGB or (H, W, 4) BGRA uint8, and its time in seconds of `time.perf_counter`."""

    pixels: np.ndarray
    time_s: float


class Recorder:
    """Encodes pictures on a thread and writes them to a file, a ring buffer and other outputs.

    state: FAILED after an error of encoder or file, until the next `start`. fault: its reason, or "".
    dropped: pictures lost to a full queue. news: messages for the user that were not shown yet.

    fps: constant frame rate; 0 for variable, where each picture has its own time. outputs: also receive every
    packet, such as a network stream, so that pictures are encoded once. options: x264 options.
    """

    def __init__(
        self,
        *,
        fps: float = 0.0,
        ring_s: float = 30.0,
        outputs: Sequence[PacketOutput] = (),
        options: dict[str, str] = LIVE,
    ):
        self.outputs, self._options = tuple(outputs), options
        self.fps, self.ring = fps, PacketRing(ring_s) if ring_s else None
        self._not_recording = RecordingState.BUFFERING if ring_s else RecordingState.OFF
        self.state, self.began_s, self.dropped = self._not_recording, 0.0, 0
        self.news: deque[Message] = deque()
        self.fault = ""
        self.spare: deque[np.ndarray] = deque(maxlen=QUEUE // 2)  # encoded arrays for reuse
        self._idle = True  # whether the model is idle, as last reported
        self._ready = threading.Condition()
        self._items: deque[Picture | Task] = deque()  # queue, in order
        self._waiting, self._room = 0, QUEUE  # pictures in the queue, and their limit
        self._closing = False
        self._thread: threading.Thread | None = None
        self._encoder: Encoder | None = None
        self._file: VideoFile | None = None
        self._epoch_s = 0.0  # time of 0 ms of the stream
        self._planes: np.ndarray | None = None  # the newest picture
        self._grid = 0  # constant rate: next frame number to fill
        self._wanted: Path | None = None  # file to begin with the first picture
        self._key = False  # make the next picture a key frame, since a file begins there

    def offer(self, picture: np.ndarray, time_s: float) -> bool:
        """Queue a picture, (H, W, 3) RGB or (H, W, 4) BGRA uint8, shown at this time.

        The array must not be written to until it appears in `spare`. Returns False if it was dropped.
        """
        with self._ready:
            self._room = max(2, min(QUEUE, QUEUE_BYTES // picture.nbytes))
            if self._waiting >= self._room:
                self.dropped += 1
                self.spare.append(picture)
                return False
            self._items.append(Picture(picture, time_s))
            self._waiting += 1
            self._wake()
        return True

    def pulse(self, idle: bool) -> None:
        """Report whether the model is idle, which is the best time to encode. Called every tick.

        If this is never called, pictures are encoded immediately.
        """
        with self._ready:
            self._idle = idle
            if self._due():  # needless wake-ups cost the loop 0.8 ms a tick on a busy machine
                self._ready.notify()

    @property
    def recording(self) -> bool:
        """Whether a file is being written, or will be from the next picture on."""
        return self.state is RecordingState.RECORDING

    @property
    def fill(self) -> float:
        """Share of the queue in use: above 0.5 if the encoder is too slow."""
        return self._waiting / self._room

    def start(self, path: Path) -> None:
        """Begin recording to a file, starting with the newest picture."""
        self.state, self.began_s, self.dropped = RecordingState.RECORDING, time.perf_counter(), 0

        def begin() -> None:
            self._start(path)
            self._repeat()

        self._do(begin)

    def stop(self) -> None:
        """End the recording now."""
        end_s, self.state = time.perf_counter(), self._not_recording
        self._do(lambda: self._stop(end_s))

    def keep(self, path: Path) -> None:
        """Write the last seconds in the ring to a separate file."""
        self._do(lambda: self._keep(path))

    def close(self) -> None:
        """Encode the queued pictures and end the recording. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _do(self, task: Task) -> None:
        with self._ready:
            self._items.append(task)
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()
        if self._due():
            self._ready.notify()

    def _run(self) -> None:
        while True:
            with self._ready:
                repeat_s = FIRST_REPEAT_S if self._begins else REPEAT_S
                self._ready.wait_for(lambda: self._due() or self._closing, repeat_s)
                item = self._items.popleft() if self._due() else None
                self._waiting -= isinstance(item, Picture)
                none_left = not self._items and item is None
            try:
                if isinstance(item, Picture):
                    self._take(*item)
                elif item is not None:
                    item()
                elif none_left and self._closing:
                    self._stop(time.perf_counter())
                elif none_left and (self._file is not None or self.outputs):
                    self._repeat(time.perf_counter() - LATE_S)
            except InputError as error:  # the file cannot be opened; the encoder is not affected
                self.news.append(Message(str(error), Level.ERROR))
            except Exception as error:  # PyAV's errors have no common base
                self._fail(error)
            if none_left and self._closing:
                return

    def _due(self) -> bool:
        """Whether to process the oldest item now: it is a task, an old picture, or the model is idle."""
        if not self._items:
            return False
        first = self._items[0]
        if not isinstance(first, Picture) or self._idle or self._closing or self.fill >= 0.5:
            return True
        patience_s = STREAM_PATIENCE_S if self.outputs else PATIENCE_S
        return time.perf_counter() - first.time_s >= (0.0 if self._begins else patience_s)

    @property
    def _begins(self) -> bool:
        """Whether a recording has just begun and would be lost if the program ended now."""
        return self._wanted is not None or (self._file is not None and self._file.ms < BEGIN_MS)

    def _fail(self, error: Exception) -> None:
        """Handle an encoder error: end the file, which stays playable, and take no pictures until `start`."""
        self._end_file()
        self.state = RecordingState.FAILED
        self.fault = f"the recording stopped: {reason(error)}"
        self.news.append(Message(self.fault, Level.ERROR))
        if self.ring is not None:  # another encoder cannot continue its packets
            self.ring.clear()
        if self._encoder is not None:
            with contextlib.suppress(Exception):
                self._encoder.close()
        self._encoder = self._planes = self._wanted = None

    def _take(self, picture: np.ndarray, time_s: float) -> None:
        if self.state is RecordingState.FAILED and self._encoder is None:
            self.spare.append(picture)
            return
        image = even(picture)
        if self._encoder is None:
            self._encoder = Encoder((image.shape[1], image.shape[0]), self._options)
            self._epoch_s = time_s
        size = self._encoder.size
        if (image.shape[1], image.shape[0]) != size:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if self.fps:
            self._fill(time_s)
        self._planes = planar(image, self._planes)
        self.spare.append(picture)
        if self._wanted is not None:
            self._start(self._wanted)
        if not self.fps:
            self._encode(time_s)

    def _repeat(self, time_s: float | None = None) -> None:
        """Encode the newest picture again, shown now or at this time."""
        time_s = time.perf_counter() if time_s is None else time_s
        if self._planes is None:
            return
        if self.fps:
            self._fill(time_s)
        else:
            self._encode(time_s)

    def _fill(self, time_s: float) -> None:
        """At a constant rate, encode the newest picture for every frame up to this time."""
        end = int((time_s - self._epoch_s) * self.fps)
        if self._planes is None or not self._used:
            self._grid = end
        while self._grid < end:
            self._encode(self._epoch_s + self._grid / self.fps)
            self._grid += 1

    @property
    def _used(self) -> bool:
        """Whether any output takes the packets."""
        return self._file is not None or self.ring is not None or bool(self.outputs)

    def _encode(self, time_s: float) -> None:
        encoder, planes = self._encoder, self._planes
        if encoder is None or planes is None or not self._used:
            return
        ms, key, self._key = round((time_s - self._epoch_s) * 1e3), self._key, False
        key |= any(output.wants_key for output in self.outputs)
        for packet in encoder.encode(planes, ms, key=key):
            if self.ring is not None:
                self.ring.add(packet)
            self._add_to_file(packet)
            for output in self.outputs:
                output.offer(packet, encoder.stream)

    def _add_to_file(self, packet: Packet) -> None:
        """Write a packet to the file. A full disk ends the file but not the ring."""
        if self._file is None:
            return
        try:
            self._file.add(packet)
        except Exception as error:
            self._end_file()
            self.state = RecordingState.FAILED
            self.fault = f"the recording stopped: {reason(error)}"
            self.news.append(Message(self.fault, Level.ERROR))

    def _start(self, path: Path) -> None:
        if self._planes is None or self._encoder is None:
            self._wanted = path
            return
        self._end_file()
        self._wanted = None
        try:
            self._file = VideoFile(path, self._encoder.stream)
        except InputError as error:
            self.fault, self.state = str(error), RecordingState.FAILED
            raise
        self.state, self._key = RecordingState.RECORDING, True
        self.news.append(Message(f"recording to {path}"))

    def _stop(self, end_s: float) -> None:
        self._wanted = None
        if self._file is not None:
            self._repeat(end_s)
            self.news.append(Message(f"recorded {self._file.ms / 1000:.1f} s to {self._file.path}"))
            self._end_file()

    def _end_file(self) -> None:
        self.state = self._not_recording
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, path: Path) -> None:
        if self.ring is None or self._encoder is None:
            raise InputError("nothing was kept in memory")
        self._repeat()
        packets = self.ring.packets()
        file = VideoFile(path, self._encoder.stream)
        try:
            for packet in packets:
                file.add(packet)
        except Exception as error:
            raise InputError(f"nothing was kept: {reason(error)}") from error
        finally:
            file.close()
        self.news.append(Message(f"kept the last {file.ms / 1000:.0f} s as {path}"))


def reason(error: Exception) -> str:
    """One-line description of an error."""
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
