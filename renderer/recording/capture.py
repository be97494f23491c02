"""Window capture: which part of the window is recorded, how often, and under which file name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np

from renderer.recording.recorder import Recorder
from renderer.recording.status import RecordingState, RecordingStatus

MOST_HZ = 30.0  # pictures per second without a constant rate
SLOWEST = 8  # largest reduction of the rate if the encoder does not keep up
CROWDED, ROOMY = 0.75, 0.5  # fill of the recorder's queue at which the rate changes
SLOW_AFTER_S, FAST_AFTER_S = 0.5, 5.0  # shortest times between two changes of the rate
RING_HZ = 10.0  # while only the ring is filled, at a third of the cost


def slower(now: int, fill: float, since_s: float) -> int:
    """Divisor of the capture rate, adapted to the load of the encoder: 1, 2, 4 or 8.

    now: the present divisor, unchanged for `since_s` seconds. fill: share of the recorder's queue in use.
    There is no faster preset to fall back to: x264's fastest is already used.
    """
    if fill > CROWDED and since_s >= SLOW_AFTER_S:
        return min(SLOWEST, now * 2)
    if fill <= ROOMY and since_s >= FAST_AFTER_S:
        return max(1, now // 2)
    return now


class Panes(Protocol):
    """Paper and picture as the window shows them, (H, W, 3) uint8 RGB each."""

    @property
    def paper(self) -> np.ndarray: ...

    @property
    def picture(self) -> np.ndarray: ...


class WindowFrames(Protocol):
    """Recordable parts of a window. all_new, panes_new: the last draw changed the window, or the panes."""

    @property
    def all_new(self) -> bool: ...

    @property
    def panes_new(self) -> bool: ...

    @property
    def panes(self) -> Panes | None: ...

    def pixels(self) -> np.ndarray: ...


class WindowCapture:
    """Offers changed window pictures to the recorder, no faster than it can encode.

    slow: present divisor of the rate. slowest: largest divisor while recording.
    """

    def __init__(self, recorder: Recorder, layout: str, folder: Path):
        """layout: "side", "picture", "paper" or "window". folder: for recordings started with a key."""
        self.recorder, self.layout, self.folder = recorder, layout, folder
        self.slow = self.slowest = 1
        self._slow_s = 0.0  # time of the last change of `slow`
        self._next_s = 0.0
        self._owed = True  # a change has not been offered yet

    def update(self, frames: WindowFrames, shown_s: float, model_busy: bool) -> None:
        """Capture a window update, shown at this time. Copies the recorded part and never waits."""
        self.recorder.pulse(not model_busy)
        self.offer(frames, shown_s)

    def offer(self, frames: WindowFrames, shown_s: float) -> None:
        """Pass a picture to the recorder if one is due."""
        recorder = self.recorder
        self._owed |= frames.all_new if self.layout == "window" else frames.panes_new
        if (
            not self._owed
            or shown_s < self._next_s
            or not (recorder.recording or recorder.ring or recorder.outputs)
        ):
            return
        slow = slower(self.slow, recorder.fill, shown_s - self._slow_s)
        if slow != self.slow:
            self.slow, self._slow_s = slow, shown_s
        self.slowest = max(self.slowest, slow if recorder.recording else 1)
        interval_s = 1 / self.hz
        self._next_s = max(self._next_s + interval_s, shown_s + interval_s / 2)
        self._owed = False
        recorder.offer(self.picture(frames), shown_s)

    @property
    def hz(self) -> float:
        """Largest number of pictures per second."""
        wanted = (
            max(self.recorder.fps, MOST_HZ) if self.recorder.recording or self.recorder.outputs else RING_HZ
        )
        return wanted / self.slow

    def picture(self, frames: WindowFrames) -> np.ndarray:
        """A copy of the recorded part, uint8: (H, W, 3) RGB, or (H, W, 4) BGRA for the whole window."""
        panes = frames.panes
        if self.layout == "window" or panes is None:
            shot = frames.pixels()
            return self.filled(shot.shape, shot)
        if self.layout != "side":
            pane = panes.picture if self.layout == "picture" else panes.paper
            return self.filled(pane.shape, pane)
        height, width, depth = panes.paper.shape
        return self.filled((height, 2 * width, depth), panes.paper, panes.picture)

    def filled(self, shape: tuple[int, ...], *parts: np.ndarray) -> np.ndarray:
        """An array with the parts side by side; reuses an already encoded one of the same shape."""
        spare = self.recorder.spare
        target = spare.popleft() if spare else None
        if target is None or target.shape != shape:
            target = np.empty(shape, np.uint8)
        x = 0
        for part in parts:
            target[:, x : x + part.shape[1]] = part
            x += part.shape[1]
        return target

    def status(self, now_s: float) -> RecordingStatus:
        """State of the recording and its HUD line."""
        recorder = self.recorder
        kept = f"{recorder.ring.bytes / 1e6:.1f} MB kept" if recorder.ring else ""
        text = ""
        if recorder.state is RecordingState.RECORDING:
            minutes, seconds = divmod(int(now_s - recorder.began_s), 60)
            rate = f" at {self.hz:.0f} pictures a second" if self.slow > 1 else ""
            text = f"recording {minutes}:{seconds:02}{rate}, {recorder.dropped} dropped"
        elif recorder.state is RecordingState.FAILED:
            text = recorder.fault
        return RecordingStatus(recorder.state, ", ".join(part for part in (text, kept) if part))

    def toggle_recording(self) -> None:
        """Begin a recording in the folder, or end the current one."""
        if self.recorder.recording:
            self.recorder.stop()
        else:
            self.recorder.start(self.named("flowbrush-%Y%m%d-%H%M%S.mkv"))

    def keep_last_seconds(self) -> None:
        """Save the last seconds from memory to a file."""
        self.recorder.keep(self.named("flowbrush-%Y%m%d-%H%M%S-kept.mkv"))

    def named(self, pattern: str) -> Path:
        return self.folder / time.strftime(pattern)
