"""Which part of the window is recorded, how often, and under which file name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np

from renderer.recording.recorder import Recorder
from renderer.recording.status import RecordingState, RecordingStatus

MOST_HZ = 30.0  # pictures a second where no constant rate is asked for
SLOWEST = 8  # times fewer where the encoder does not keep up
CROWDED, ROOMY = 0.75, 0.5  # shares of the recorder's queue
SLOW_AFTER_S, FAST_AFTER_S = 0.5, 5.0  # between two changes of the rate
RING_HZ = 10.0  # while only the last seconds are kept in memory, which is to cost a third


def slower(now: int, fill: float, since_s: float) -> int:
    """How many times fewer pictures are taken than was asked for: 1, 2, 4 or 8.

    now: at present, for `since_s` seconds. fill: share of the recorder's queue that is taken. There is no
    faster preset to fall back to: the one that is used is x264's fastest.
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
    """What is recorded of a window. all_new, panes_new: the last draw changed the window, or the panes."""

    @property
    def all_new(self) -> bool: ...

    @property
    def panes_new(self) -> bool: ...

    @property
    def panes(self) -> Panes | None: ...

    def pixels(self) -> np.ndarray: ...


class WindowCapture:
    """Offers the recorder what changed in the window, not more often than it can encode.

    slow: by how much the rate is reduced at present. slowest: the most it was reduced while recording.
    """

    def __init__(self, recorder: Recorder, layout: str, folder: Path):
        """layout: "side", "picture", "paper" or "window". folder: of recordings that a key begins."""
        self.recorder, self.layout, self.folder = recorder, layout, folder
        self.slow = self.slowest = 1
        self._slow_s = 0.0  # when `slow` changed last
        self._next_s = 0.0
        self._owed = True  # something changed that was not offered yet

    def update(self, frames: WindowFrames, shown_s: float, model_busy: bool) -> None:
        """The window was updated at this time. Copies what is recorded, and waits for nothing."""
        self.recorder.pulse(not model_busy)
        self.offer(frames, shown_s)

    def offer(self, frames: WindowFrames, shown_s: float) -> None:
        """Hand a picture to the recorder if one is due."""
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
        """Largest number of pictures a second."""
        wanted = (
            max(self.recorder.fps, MOST_HZ) if self.recorder.recording or self.recorder.outputs else RING_HZ
        )
        return wanted / self.slow

    def picture(self, frames: WindowFrames) -> np.ndarray:
        """A copy of what is recorded: (H, W, 3) RGB, or (H, W, 4) BGRA of the whole window; uint8."""
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
        """An array with the parts side by side; reuses one that was encoded, if its shape is right."""
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
        """State of the recording, with one line for the HUD."""
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
        """Begin a recording in the folder, or end the one under way."""
        if self.recorder.recording:
            self.recorder.stop()
        else:
            self.recorder.start(self.named("flowbrush-%Y%m%d-%H%M%S.mkv"))

    def keep_last_seconds(self) -> None:
        """Save the last seconds, which are kept in memory."""
        self.recorder.keep(self.named("flowbrush-%Y%m%d-%H%M%S-kept.mkv"))

    def named(self, pattern: str) -> Path:
        return self.folder / time.strftime(pattern)
