"""A live source as a layer of the paper: takes its frames in the loop and counts painted and skipped ones."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from models.api import NOTHING, Rect
from renderer.sources.blend import Blend, Painted
from renderer.sources.preparation import SourceFrame
from renderer.sources.source_thread import SourceThread

RECENT = 240  # number of latencies that the HUD shows
SMOOTHING = 0.25  # weight of the newest model time in the running mean


@dataclass(frozen=True)
class LayerSettings:
    """Settings of the source layer.

    over: above the strokes instead of below. opacity: 0..1. feedback: 0..1, share of the model's last picture
    mixed into the source, which stabilizes the picture. visible: whether it is shown."""

    over: bool = False
    opacity: float = 1.0
    feedback: float = 0.0
    visible: bool = True


class Strokes(NamedTuple):
    """The strokes. pixels: (H, W, 4) uint8. materials: (H, W) uint8. seen: pixels with reference layers."""

    pixels: np.ndarray
    materials: np.ndarray
    seen: np.ndarray


class LiveSource:
    """Blends a source with the strokes; used by the loop only. pixels, materials: the result, as in Request.

    painted: number of source frames from which a shown picture was made. skipped: number of other frames.
    capture_ms: latency from capture to the end of the window update that first shows the frame.
    """

    def __init__(self, thread: SourceThread, size: tuple[int, int], settings: LayerSettings):
        """size: (width, height) of the paper."""
        self.thread, self.settings = thread, settings
        self.frame: SourceFrame | None = None
        self.painted = self.skipped = 0
        self.capture_ms = array("d")
        self.recent_ms: deque[float] = deque(maxlen=RECENT)
        self.taken_s = -1e9
        self.frame_ms = 0.0  # mean model time of a picture with a new source frame
        self._whole = Rect(0, 0, *size)
        self._blend = Blend(*size)
        self._seen: Blend | None = None  # the same for the window, including reference layers
        self._mixed: np.ndarray | None = None  # the source with feedback
        self._sent: deque[tuple[int, SourceFrame]] = deque()  # (sequence, frame in its request)
        self._shown_number = -1
        self._area = self._requests = 0  # total dirty pixels of the requests with a new frame

    @property
    def pixels(self) -> np.ndarray:
        return self._blend.pixels

    @property
    def materials(self) -> np.ndarray:
        return self._blend.materials

    @property
    def active(self) -> bool:
        """Whether there is a frame and the layer is visible."""
        return self.frame is not None and self.settings.visible

    @property
    def skipped_area(self) -> float | None:
        """Mean share of the paper that source frames left unchanged; None before the first."""
        if not self._requests:
            return None
        return 1 - self._area / (self._requests * self._whole.width * self._whole.height)

    @property
    def in_flight(self) -> int:
        """Number of frames that are neither painted nor skipped yet."""
        return self.thread.numbered - self.painted - self.skipped

    @property
    def seen(self) -> np.ndarray:
        """(H, W, 4) uint8 as shown in the window: with reference layers, which the model does not get."""
        return self.pixels if self._seen is None else self._seen.pixels

    def take(self, strokes: Strokes, picture: np.ndarray | None, now_s: float) -> Rect:
        """Take the newest frame, if there is one. Returns the changed area of the paper.

        picture: (H, W, 3) uint8, the model's last picture, for feedback.
        """
        taken = self.thread.slot.take()
        if taken is None:
            return NOTHING
        frame, dirty = taken
        same_cover = self.frame is not None and frame.alpha is self.frame.alpha
        self.frame, self.taken_s = frame, now_s
        feedback = self.settings.feedback
        mixed = self._mixed is not None
        self._mixed = None
        if feedback and picture is not None and picture.shape == frame.pixels.shape:
            self._mixed = cv2.addWeighted(frame.pixels, 1 - feedback, picture, feedback, 0)
        if not same_cover or mixed or self._mixed is not None:
            dirty = self._whole
        if not self.settings.visible:
            return NOTHING
        self._lay(strokes, dirty, weigh=not same_cover)
        return dirty

    def strokes_changed(self, strokes: Strokes, box: Rect) -> None:
        """Update the blend after a change of the strokes inside the box."""
        if self.active:
            self._lay(strokes, box, weigh=True)

    def change(self, settings: LayerSettings, strokes: Strokes) -> Rect:
        """Change the layer settings. Returns the changed area of the paper."""
        if settings == self.settings:
            return NOTHING
        self.settings = settings
        if self.active:
            self._lay(strokes, self._whole, weigh=True)
        return NOTHING if self.frame is None else self._whole

    def _lay(self, strokes: Strokes, box: Rect, *, weigh: bool) -> None:
        """Blend strokes and source inside the box. weigh: strokes, cover or settings changed there."""
        assert self.frame is not None
        source = Painted(self.frame.pixels, self.frame.materials)
        if self._mixed is not None:
            source = Painted(self._mixed)  # a mix of flat colours and a picture has no material
        self._lay_one(self._blend, Painted(strokes.pixels, strokes.materials), source, box, weigh=weigh)
        if strokes.seen is strokes.pixels:
            self._seen = None
            return
        if self._seen is None:  # the first reference layer was added
            self._seen, box, weigh = Blend(self._whole.width, self._whole.height), self._whole, True
        self._lay_one(self._seen, Painted(strokes.seen), source, box, weigh=weigh)

    def _lay_one(self, blend: Blend, strokes: Painted, source: Painted, box: Rect, *, weigh: bool) -> None:
        assert self.frame is not None
        if weigh:
            opacity, over = self.settings.opacity, self.settings.over
            blend.weigh(strokes.pixels, box, opacity=opacity, over=over, cover=self.frame.alpha)
        blend.compose(strokes, source, box)

    # Outcome of each frame

    def sent(self, sequence: int, dirty: Rect) -> None:
        """Note that a request with the newest frame was submitted."""
        if not self.active:
            return
        assert self.frame is not None
        if not self._sent or self._sent[-1][1] is not self.frame:
            self._requests += 1
            self._area += dirty.width * dirty.height
        self._sent.append((sequence, self.frame))

    def answered(self, sequence: int, model_ms: float) -> None:
        """Note that the picture of this request has arrived."""
        frame = next((frame for asked, frame in self._sent if asked == sequence), None)
        if frame is not None and frame.number > self._shown_number:
            if not self.frame_ms:
                self.frame_ms = model_ms
            self.frame_ms += SMOOTHING * (min(model_ms, 3 * self.frame_ms) - self.frame_ms)

    def failed(self, sequence: int) -> None:
        """Note that the request failed; with every_frame the source continues."""
        for asked, frame in self._sent:
            if asked == sequence:
                self.thread.painted(frame.number)

    def flipped(self, end_s: float, shown: int) -> None:
        """Note that the window, updated at end_s, shows the picture of this sequence."""
        newest = None
        while self._sent and self._sent[0][0] <= shown:
            sequence, frame = self._sent.popleft()
            newest = frame if sequence == shown else newest
        if newest is None or newest.number <= self._shown_number:
            return
        self.painted += 1
        self.skipped += newest.number - self._shown_number - 1
        self._shown_number = newest.number
        ms = (end_s - newest.captured_s) * 1e3
        self.capture_ms.append(ms)
        self.recent_ms.append(ms)
        self.thread.painted(newest.number)
