"""Source thread: opens a source, reads its pictures at their times, reconnects when it is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from renderer.sources.preparation import AS_IT_IS, Preparation, Preparer, Slot
from renderer.sources.readers.shot import Capture, Shot, SourceLost
from renderer.sources.readers.spec import SourceSpec

State = Literal["opening", "live", "paused", "ended", "lost"]
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 5.0  # the wait doubles from the first value to the last
SKIP_S = 0.2  # a file that is decoded too slowly still shows a frame at this interval
STALLED_S = 1.0  # if it lags behind its clock by this much, the clock is reset
CLOSE_S = 2.0
TURN_S = 0.05  # interval at which a waiting thread checks for stop


class SourceThread:
    """Reads pictures of one source and keeps the newest prepared one for the loop.

    problem: one line while the source is lost. captured: number of pictures. unchanged: number of those
    without changes. spacing_s: shortest interval between prepared pictures. wanted_from_s: earliest time of
    the next one. The loop sets both, from the model's frame time and from pen activity.
    """

    def __init__(
        self,
        spec: SourceSpec,
        open_capture: Callable[[], Capture],
        paper: tuple[int, int],
        *,
        preparation: Preparation = AS_IT_IS,
        fps: float = 0.0,
        loop: bool = True,
        every_frame: bool = False,
    ):
        """open_capture: called on this thread at the start and after each loss; raises SourceLost. paper:
        (width, height). fps: largest rate of a live source; 0: unlimited. loop: restart at the end.
        every_frame: a file waits until each frame is painted, instead of playing in real time.
        """
        self.spec, self._open_capture = spec, open_capture
        self.preparation, self.loop, self.every_frame = preparation, loop, every_frame
        self.state: State = "opening"
        self.problem = ""
        self.captured = self.unchanged = self.lost_times = 0
        self.position_s = 0.0
        self.duration_s: float | None = None
        self.spacing_s = self.wanted_from_s = 0.0
        self.slot = Slot()
        self._interval_s = 1 / fps if fps else 0.0
        self._preparer = Preparer(paper, preparation)
        self._number = 0  # number of the next frame with a change
        self._painted = -1
        self._prepared_s = -1e9
        self._held: Shot | None = None  # the newest picture, if it was skipped
        self._last: Shot | None = None  # the picture prepared last
        self._again = False  # prepare it again
        self._origin_s = 0.0  # due time of position 0 of a file
        self._paused = False
        self._seek_s: float | None = None
        self._closing = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def numbered(self) -> int:
        """Number of pictures with a change; each is finally painted or skipped."""
        return self._number

    @property
    def noise_levels(self) -> float:
        """Standard deviation of the source's noise, in levels of 255."""
        return self._preparer.changes.noise_levels

    @property
    def changed_share(self) -> float:
        """Share of the area changed by the newest frame."""
        return self._preparer.changes.changed_share

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._thread.start()

    def pause(self, paused: bool) -> None:
        """Pause or resume; a live source continues in the background."""
        with self._wake:
            self._paused = paused
            self._wake.notify_all()

    @property
    def paused(self) -> bool:
        return self._paused

    def reprepare(self, preparation: Preparation) -> None:
        """Change the preparation; a source without new pictures shows its last one again."""
        with self._wake:
            self.preparation = preparation
            self._again = True
            self._wake.notify_all()

    def seek(self, media_s: float) -> None:
        """Seek to this position of a file."""
        with self._wake:
            length = self.duration_s
            self._seek_s = max(0.0, media_s if length is None else min(media_s, length - 1e-3))
            self._wake.notify_all()

    def painted(self, number: int) -> None:
        """Note that the frame of this number is on the screen; with every_frame the source continues."""
        with self._wake:
            self._painted = max(self._painted, number)
            self._wake.notify_all()

    def close(self) -> bool:
        """End the thread. Returns whether it ended in time. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread is None:
            return True
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._closing:
            capture, before = None, self.captured
            try:
                capture = self._open_capture()
                self.duration_s = getattr(capture, "duration_s", None)
                if self.spec.live:
                    self._play_live(capture)
                else:
                    self._play_file(capture)
            except SourceLost as error:
                self._lose(str(error))
            except Exception as error:  # library errors do not end a source permanently
                self._lose(f"{self.spec.name}: {type(error).__name__}: {str(error).splitlines()[0]}")
            finally:
                if capture is not None:
                    with contextlib.suppress(Exception):
                        capture.close()
            retry_s = FIRST_RETRY_S if self.captured > before else min(LAST_RETRY_S, 2 * retry_s)
            self._wait(retry_s)

    def _lose(self, problem: str) -> None:
        if not self._closing:
            self.state, self.problem = "lost", problem
            self.lost_times += 1

    def _play_live(self, capture: Capture) -> None:
        due_s = time.perf_counter()
        while not self._closing:
            if self._interval_s:
                self._wait(due_s - time.perf_counter())
                due_s = max(due_s + self._interval_s, time.perf_counter() - self._interval_s)
            shot = capture.read()
            if shot is None:
                raise SourceLost(f"{self.spec.name} ended")
            self.state, self.problem = ("paused" if self._paused else "live"), ""
            if not self._paused:
                self._publish(shot)

    def _play_file(self, capture: Capture) -> None:
        """Play a file in real time, or frame by frame as they are painted."""
        interval_s = getattr(capture, "interval_s", 0.0)
        resume_s = self.position_s if self.lost_times else 0.0
        sought_s = resume_s
        if resume_s:
            capture.seek(resume_s)
        self._origin_s = time.perf_counter() - resume_s
        pending: Shot | None = None
        shown_any = False  # since the start or the last seek
        while not self._closing:
            wanted = self._take_seek()
            if wanted is not None:
                capture.seek(wanted)
                sought_s = wanted
                self._origin_s, pending, shown_any = time.perf_counter() - wanted, None, False
            if self._paused and shown_any:
                self.state = "paused"
                self._publish_held()
                began_s = time.perf_counter()
                self._wait_while(lambda: self._paused and self._seek_s is None and not self._again)
                if self._again:
                    self._publish_again()
                self._origin_s += time.perf_counter() - began_s
                continue
            if pending is None:
                pending = capture.read()
            if pending is None:
                if not shown_any:  # the position is after the last frame
                    pending = last_before(capture, sought_s)
                    if pending is None:
                        raise SourceLost(f"there is no frame in {self.spec.name}")
                    self._origin_s = time.perf_counter() - pending.media_s
                    continue
                self._publish_held()
                if not self.loop:
                    self.state = "ended"
                    self._wait_while(lambda: self._seek_s is None and not self._again)
                    if self._again:
                        self._publish_again()
                elif self.every_frame or self._due(self.position_s + interval_s):
                    self.seek(0.0)
                continue
            self.state, self.problem = "live", ""
            if self.every_frame:
                self._wait_while(
                    lambda: self._painted < self._number - 1 and self._seek_s is None and not self._paused
                )
                if self._seek_s is not None or (self._paused and shown_any):
                    continue
                pending = replace(pending, captured_s=time.perf_counter())
            elif not self._due(pending.media_s):
                continue
            else:
                pending = replace(pending, captured_s=self._origin_s + pending.media_s)
            self.position_s = pending.media_s
            self._publish(pending, first=not shown_any)
            pending, shown_any = None, True

    def _take_seek(self) -> float | None:
        with self._wake:
            wanted, self._seek_s = self._seek_s, None
            return wanted

    def _due(self, media_s: float) -> bool:
        """Wait until a frame is due. Returns False if a pause or a seek came first."""
        wait_s = self._origin_s + media_s - time.perf_counter()
        if wait_s < -STALLED_S:
            self._origin_s -= wait_s
        elif wait_s > 0:
            end_s = time.perf_counter() + wait_s
            with self._wake:
                self._wake.wait_for(
                    lambda: self._closing or self._seek_s is not None or self._paused, max(0.0, wait_s)
                )
            return time.perf_counter() >= end_s - 1e-3 and self._seek_s is None
        return self._seek_s is None

    def _publish(self, shot: Shot, *, first: bool = False) -> None:
        """Prepare a picture for the loop, unless it is late or earlier than the model can use it.

        first: the first one after a start or a seek, which is always prepared.
        """
        self.captured += 1
        now_s = time.perf_counter()
        since_s = now_s - self._prepared_s
        late = not self.spec.live and now_s - shot.captured_s > 0.1 and since_s < SKIP_S
        early = (since_s < self.spacing_s and self.slot.waiting) or now_s < self.wanted_from_s
        if (late or early) and not (first or self.every_frame):
            self._number += 1  # counts as skipped
            self._held = shot
            return
        self._prepare(shot)

    def _publish_held(self) -> None:
        """Show the newest picture although it was skipped, because no other follows."""
        if self._held is not None:
            self._number -= 1
            self._prepare(self._held)

    def _publish_again(self) -> None:
        """Prepare the last picture again with the present settings."""
        self._again = False
        if self._last is not None:
            self.captured += 1
            self._prepare(replace(self._last, captured_s=time.perf_counter()))

    def _prepare(self, shot: Shot) -> None:
        self._last, self._again = shot, False
        self._held, self._prepared_s = None, time.perf_counter()
        frame = self._preparer.prepare(shot, self._number, self.preparation)
        if frame is None:
            self.unchanged += 1
            return
        self._number += 1
        self.slot.put(frame)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            with self._wake:
                self._wake.wait_for(lambda: self._closing, seconds)

    def _wait_while(self, holds: Callable[[], bool]) -> None:
        with self._wake:
            while holds() and not self._closing:
                self._wake.wait(TURN_S)


def last_before(capture: Capture, media_s: float) -> Shot | None:
    """The last picture before a position: searched in the last 5 s before it, then from the start."""
    for back_s in (5.0, media_s):
        capture.seek(max(0.0, media_s - back_s))
        last = None
        while (shot := capture.read()) is not None:
            last = shot
        if last is not None:
            return last
    return None
