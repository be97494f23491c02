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
from typing import Protocol

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
BEAT_S = 0.4  # a film of something that does not change goes on in such steps
FIRST_BEAT_S = 0.16  # and begins in such ones: its first picture is on the disk when the second one comes
YOUNG_MS = 500
LATE_S = 0.1  # a picture may come so long after it was shown; none may come before one that was repeated
CLOSE_S = 5.0
PATIENCE_S = 0.4  # a picture waits so long for a moment in which the model does nothing
STREAM_PATIENCE_S = 0.1  # and while it is streamed


class PacketOutput(Protocol):
    """Takes the encoder's packets, and waits for nothing. wants_key: it can go on only at a key frame."""

    wants_key: bool

    def offer(self, packet: Packet, like: av.VideoStream) -> None: ...


class Recorder:
    """state: FAILED until the next `start` after the encoder or the file failed. fault: why; empty if nothing
    failed. dropped: pictures that found the queue full. news: messages for the user, not yet shown.

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
        self._idle = True  # as far as is known
        self._ready = threading.Condition()
        self._items: deque[tuple[np.ndarray, float] | Callable[[], None]] = deque()  # in order
        self._waiting, self._room = 0, QUEUE  # pictures among them, and how many there may be
        self._closing = False
        self._thread: threading.Thread | None = None
        self._encoder: Encoder | None = None
        self._film: VideoFile | None = None
        self._epoch_s = 0.0  # monotonic time of the stream's 0 ms
        self._planes: np.ndarray | None = None  # the newest picture
        self._grid = 0  # constant rate: next tick to be filled
        self._wanted: Path | None = None  # a film that begins with the first picture
        self._key = False  # the next picture is a key frame: a film begins there

    def offer(self, picture: np.ndarray, time_s: float) -> bool:
        """Hand over a picture, (H, W, 3) RGB or (H, W, 4) BGRA uint8, shown at a monotonic time.

        It must not be written to until it lies in `spare`. Returns False where it was dropped.
        """
        with self._ready:
            self._room = max(2, min(QUEUE, QUEUE_BYTES // picture.nbytes))
            if self._waiting >= self._room:
                self.dropped += 1
                self.spare.append(picture)
                return False
            self._items.append((picture, time_s))
            self._waiting += 1
            self._wake()
        return True

    def pulse(self, idle: bool) -> None:
        """Told after each turn of the loop, and by a model that comes to rest. idle: it is time to encode.

        Where this is never called, pictures are encoded as they come.
        """
        with self._ready:
            self._idle = idle
            if self._due():  # waking the thread for nothing cost the loop 0.8 ms a tick on a busy machine
                self._ready.notify()

    @property
    def filming(self) -> bool:
        """A file is being written, or will be from the next picture on."""
        return self.state is RecordingState.RECORDING

    @property
    def fill(self) -> float:
        """Share of the queue that is taken: above a half where the encoder does not keep up."""
        return self._waiting / self._room

    def start(self, path: Path) -> None:
        """Film from the newest picture on."""
        self.state, self.began_s, self.dropped = RecordingState.RECORDING, time.perf_counter(), 0
        self._wish(lambda: self._start(path) or self._repeat())

    def stop(self) -> None:
        """End the film at this moment."""
        end_s, self.state = time.perf_counter(), self._not_recording
        self._wish(lambda: self._stop(end_s))

    def keep(self, path: Path) -> None:
        """Write what the ring holds to a film of its own."""
        self._wish(lambda: self._keep(path))

    def close(self) -> None:
        """Encode what waits and end the film. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _wish(self, wish: Callable[[], None]) -> None:
        with self._ready:
            self._items.append(wish)
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
                beat_s = FIRST_BEAT_S if self._young else BEAT_S
                self._ready.wait_for(lambda: self._due() or self._closing, beat_s)
                item = self._items.popleft() if self._due() else None
                self._waiting -= isinstance(item, tuple)
                none_left = not self._items and item is None
            try:
                if isinstance(item, tuple):
                    self._take(*item)
                elif item is not None:
                    item()
                elif none_left and self._closing:
                    self._stop(time.perf_counter())
                elif none_left and (self._film is not None or self.outputs):
                    self._repeat(time.perf_counter() - LATE_S)
            except InputError as error:  # a file that cannot be begun; the encoder is as it was
                self.news.append(Message(str(error), Level.ERROR))
            except Exception as error:  # PyAV's errors have no common base
                self._fail(error)
            if none_left and self._closing:
                return

    def _due(self) -> bool:
        """The oldest item shall be done now: a wish, or a picture while the model is idle, or that is old."""
        if not self._items:
            return False
        first = self._items[0]
        if not isinstance(first, tuple) or self._idle or self._closing or self.fill >= 0.5:
            return True
        patience_s = STREAM_PATIENCE_S if self.outputs else PATIENCE_S
        return time.perf_counter() - first[1] >= (0.0 if self._young else patience_s)

    @property
    def _young(self) -> bool:
        """A film has hardly begun: what is not on the disk would be all of it."""
        return self._wanted is not None or (self._film is not None and self._film.ms < YOUNG_MS)

    def _fail(self, error: Exception) -> None:
        """The encoder failed: end the file, which plays so far, and take no pictures until the next start."""
        self._end_film()
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
        """The newest picture once more, now or at this moment."""
        time_s = time.perf_counter() if time_s is None else time_s
        if self._planes is None:
            return
        if self.fps:
            self._fill(time_s)
        else:
            self._encode(time_s)

    def _fill(self, time_s: float) -> None:
        """Constant rate: show the newest picture at every tick up to this time."""
        end = int((time_s - self._epoch_s) * self.fps)
        if self._planes is None or (self._film is None and self.ring is None and not self.outputs):
            self._grid = end
        while self._grid < end:
            self._encode(self._epoch_s + self._grid / self.fps)
            self._grid += 1

    def _encode(self, time_s: float) -> None:
        if self._film is None and self.ring is None and not self.outputs:
            return
        ms, key, self._key = round((time_s - self._epoch_s) * 1e3), self._key, False
        key |= any(output.wants_key for output in self.outputs)
        for packet in self._encoder.encode(self._planes, ms, key=key):
            if self.ring is not None:
                self.ring.add(packet)
            if self._film is not None:
                self._add_to_film(packet)
            for output in self.outputs:
                output.offer(packet, self._encoder.stream)

    def _add_to_film(self, packet: Packet) -> None:
        """Write a packet to the file; a full disk ends the file, and the ring goes on."""
        assert self._film is not None
        try:
            self._film.add(packet)
        except Exception as error:
            self._end_film()
            self.state = RecordingState.FAILED
            self.fault = f"the recording stopped: {reason(error)}"
            self.news.append(Message(self.fault, Level.ERROR))

    def _start(self, path: Path) -> None:
        if self._planes is None:
            self._wanted = path
            return
        self._end_film()
        self._wanted = None
        try:
            self._film = VideoFile(path, self._encoder.stream)
        except InputError as error:
            self.fault, self.state = str(error), RecordingState.FAILED
            raise
        self.state, self._key = RecordingState.RECORDING, True
        self.news.append(Message(f"recording to {path}"))

    def _stop(self, end_s: float) -> None:
        self._wanted = None
        if self._film is not None:
            self._repeat(end_s)
            self.news.append(Message(f"recorded {self._film.ms / 1000:.1f} s to {self._film.path}"))
            self._end_film()

    def _end_film(self) -> None:
        self.state = self._not_recording
        if self._film is not None:
            self._film.close()
            self._film = None

    def _keep(self, path: Path) -> None:
        if self.ring is None or self._encoder is None:
            raise InputError("nothing was kept in memory")
        self._repeat()
        packets = self.ring.packets()
        film = VideoFile(path, self._encoder.stream)
        try:
            for packet in packets:
                film.add(packet)
        except Exception as error:
            raise InputError(f"nothing was kept: {reason(error)}") from error
        finally:
            film.close()
        self.news.append(Message(f"kept the last {film.ms / 1000:.0f} s as {path}"))


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
