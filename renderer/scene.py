"""Scene: the state that the loop passes to the window once a tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.api import NOTHING, ModelCard, Rect
from renderer.canvas.canvas import Canvas
from renderer.canvas.materials import name_of
from renderer.canvas.wet_ink import WetInk
from renderer.picture_params import PictureParams
from renderer.recording.status import NOT_RECORDING, RecordingStatus
from renderer.runtime.latency import RunStatistics
from renderer.runtime.messages import NO_MESSAGE, Message
from renderer.sources.live_view import LiveView

VIEWS = ("side", "ink", "picture")
Mood = tuple[float, ...]
Words = tuple[str, ...]
PromptReader = Callable[[str, Mood], tuple[Mood, Words]]


def ignore_prompt(prompt: str, mood: Mood) -> tuple[Mood, Words]:
    """A PromptReader for a model that does not read prompts."""
    return mood, ()


@dataclass(eq=False)
class RewindState:
    """The rewind timeline, in seconds of `time.perf_counter`: its ends, the moment shown, and the pins."""

    begin_s: float
    end_s: float
    at_s: float
    pins: list[float] = field(default_factory=list)


@dataclass
class Scene:
    """State that the window draws. Each field has one owner that writes it, named in the comment.

    picture: (H, W, 3) uint8 of the newest frame, None before the first. changed: the part of the paper that
    changed since the last draw. view: one of VIEWS.
    """

    canvas: Canvas
    ink: WetInk
    params: PictureParams  # App.set_params
    stats: RunStatistics
    view: str = "side"
    picture: np.ndarray | None = None
    picture_new: bool = False  # reset by the window
    changed: Rect = NOTHING  # reset by the window
    pointer: tuple[float, float] | None = None  # Window: pointer position in pixels of the paper
    show_hud: bool = True
    show_help: bool = False
    full: bool = False  # full screen
    card: ModelCard | None = None  # ModelSwitcher: the model whose pictures are shown
    status: Message = NO_MESSAGE  # permanent message: loading or failed
    messages: list[Message] = field(default_factory=list)
    notes: tuple[str, ...] = ()  # of the newest frame
    why_not_faster: str | None = None  # of the newest frame
    models: tuple[str, ...] = ("painter",)
    demo: bool = False
    rewind: RewindState | None = None  # Rewind; None unless an earlier paper is shown
    offer: str = ""  # Persistence: a log left by a crash that can be restored
    recording: RecordingStatus = NOT_RECORDING  # Persistence
    live: LiveView | None = None  # Live: the paper with a live source in it
    read_prompt: PromptReader = ignore_prompt  # (prompt, mood) -> (mood, unknown words)

    @property
    def paper(self) -> np.ndarray:
        """(H, W, 4) uint8: the paper as the window shows it."""
        return self.canvas.seen if self.live is None else self.live.pixels

    @property
    def under_pointer(self) -> str:
        """Material under the pointer, "no material" or "blank"; empty outside the paper."""
        if self.pointer is None or not self.canvas.holds(*self.pointer):
            return ""
        paint = self.canvas.paint_at(*self.pointer)
        return "blank" if paint is None else name_of(paint[1]) or "no material"
