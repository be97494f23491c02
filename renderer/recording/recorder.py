"""The recorder: takes pictures at the loop's pace and encodes them on a thread, into a file and a ring.

The loop's side never waits: a picture that finds the queue full is dropped and counted. Whatever fails on the
thread, the encoder or the file, ends the recording with an error message; what was written stays playable.
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

QUEUE, QUEUE_BYTES = 32, 64 << 20  # pictures that may wait: a second of them, fewer large ones
REPEAT_S = 0.4  # while nothing changes the newest picture is repeated this often
FIRST_REPEAT_S = 0.16  # and this often at the begin: a picture is on the disk when the next one comes
BEGIN_MS = 500  # length of the begin
LATE_S = 0.1  # a picture may arrive so long after it was shown: repeats keep that far behind the clock
CLOSE_S = 5.0
PATIENCE_S = 0.4  # longest time that a picture waits until the model is idle
STREAM_PATIENCE_S = 0.1  # the same while it is streamed


class PacketOutput(Protocol):
    """Takes the encoder's packets, and waits for nothing. wants_key: it can go on only at a key frame."""

    wants_key: bool

    def offer(self, packet: Packet, like: av.VideoStream) -> None: ...


Task = Callable[[], None]


class Picture(NamedTuple):
    """(H, W, 3) RGB or (H, W, 4) BGRA uint8, and when it was shown, in seconds of `time.perf_counter`."""

    pixels: np.ndarray
    time_s: float


class Recorder:
    """state: FAILED after the encoder or the file failed, until the next `start`. fault: why, or "".
    dropped: pictures that found the queue full. news: messages for the user, not yet shown.

    fps: 0 gives each picture its own time, another number a picture at each of its ticks. outputs: get every
    packet as well, such as a network stream: what is recorded is encoded once. options: of x264.
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
        self.spare: deque[np.ndarray] = deque(maxlen=QUEUE // 2)  # arrays that can be filled again
        self._idle = True  # the model, as far as is known
        self._ready = threading.Condition()
        self._items: deque[Picture | Task] = deque()  # in order
        self._waiting, self._room = 0, QUEUE  # pictures among them, and how many there may be
        self._closing = False
        self._thread: threading.Thread | None = None
        self._encoder: Encoder | None = None
        self._file: VideoFile | None = None
        self._epoch_s = 0.0  # time of the stream's 0 ms
        self._planes: np.ndarray | None = None  # the newest picture
        self._grid = 0  # constant rate: next tick to be filled
        self._wanted: Path | None = None  # a file that begins with the first picture
        self._key = False  # the next picture is a key frame: a file begins there

    def offer(self, picture: np.ndarray, time_s: float) -> bool:
        """Take a picture, (H, W, 3) RGB or (H, W, 4) BGRA uint8, that was shown at this time.

        The array must not be written to until it is in `spare`. Returns False if it was dropped.
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
        """Say whether the model is idle, which is the time to encode. Called every tick.

        If this is never called, pictures are encoded as they come.
        """
        with self._ready:
            self._idle = idle
            if self._due():  # waking the thread for nothing cost the loop 0.8 ms a tick on a busy machine
                self._ready.notify()

    @property
    def recording(self) -> bool:
        """A file is being written, or will be from the next picture on."""
        return self.state is RecordingState.RECORDING

    @property
    def fill(self) -> float:
        """Share of the queue that is taken: above a half when the encoder is too slow."""
        return self._waiting / self._room

    def start(self, path: Path) -> None:
        """Record to a file, from the newest picture on."""
        self.state, self.began_s, self.dropped = RecordingState.RECORDING, time.perf_counter(), 0

        def begin() -> None:
            self._start(path)
            self._repeat()

        self._do(begin)

    def stop(self) -> None:
        """End the recording at this moment."""
        end_s, self.state = time.perf_counter(), self._not_recording
        self._do(lambda: self._stop(end_s))

    def keep(self, path: Path) -> None:
        """Write the last seconds, which the ring holds, to a file of their own."""
        self._do(lambda: self._keep(path))

    def close(self) -> None:
        """Encode what waits and end the recording. Idempotent."""
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
            except InputError as error:  # a file that cannot be begun; the encoder is as it was
                self.news.append(Message(str(error), Level.ERROR))
            except Exception as error:  # PyAV's errors have no common base
                self._fail(error)
            if none_left and self._closing:
                return

    def _due(self) -> bool:
        """The oldest item is to be done now: a task, or a picture that is old or finds the model idle."""
        if not self._items:
            return False
        first = self._items[0]
        if not isinstance(first, Picture) or self._idle or self._closing or self.fill >= 0.5:
            return True
        patience_s = STREAM_PATIENCE_S if self.outputs else PATIENCE_S
        return time.perf_counter() - first.time_s >= (0.0 if self._begins else patience_s)

    @property
    def _begins(self) -> bool:
        """A recording begins: if the program ended now, all of it would be lost."""
        return self._wanted is not None or (self._file is not None and self._file.ms < BEGIN_MS)

    def _fail(self, error: Exception) -> None:
        """The encoder failed: end the file, which plays so far, and take no pictures until the next start."""
        self._end_file()
        self.state = RecordingState.FAILED
        self.fault = f"the recording stopped: {reason(error)}"
        self.news.append(Message(self.fault, Level.ERROR))
        if self.ring is not None:  # its packets cannot be continued by another encoder
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
        """Encode the newest picture once more, shown now or at this time."""
        time_s = time.perf_counter() if time_s is None else time_s
        if self._planes is None:
            return
        if self.fps:
            self._fill(time_s)
        else:
            self._encode(time_s)

    def _fill(self, time_s: float) -> None:
        """Constant rate: encode the newest picture for every frame up to this time."""
        end = int((time_s - self._epoch_s) * self.fps)
        if self._planes is None or not self._used:
            self._grid = end
        while self._grid < end:
            self._encode(self._epoch_s + self._grid / self.fps)
            self._grid += 1

    @property
    def _used(self) -> bool:
        """Something takes the packets."""
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
        """Write a packet to the file; a full disk ends the file, and the ring goes on."""
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
    """What went wrong, in one line."""
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
