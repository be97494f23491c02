"""What the window shows of the program, handed over once a tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.api import NOTHING, ModelCard, Rect
from renderer.canvas.canvas import Canvas
from renderer.canvas.wet_ink import WetInk
from renderer.picture_params import PictureParams
from renderer.rewind import Rewind
from renderer.runtime.latency import RunStatistics

VIEWS = ("side", "ink", "picture")
Mood, Words = tuple[float, ...], tuple[str, ...]
PromptReader = Callable[[str, Mood], tuple[Mood, Words]]


def ignore_prompt(prompt: str, mood: Mood) -> tuple[Mood, Words]:
    """No word means anything."""
    return mood, ()


@dataclass
class Scene:
    """picture: the newest frame's (H, W, 3) uint8, or None before the first. changed: what differs on the
    paper since the window drew it last; the window empties it. view: one of VIEWS."""

    canvas: Canvas
    ink: WetInk
    params: PictureParams
    stats: RunStatistics
    view: str = "side"
    picture: np.ndarray | None = None
    picture_new: bool = False
    changed: Rect = NOTHING
    show_hud: bool = True
    show_help: bool = False
    full: bool = False  # the window fills the screen
    card: ModelCard | None = None
    status: str = ""  # "" when all is well, else what is being waited for or what failed
    messages: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    why_not_faster: str | None = None  # of the newest frame
    models: tuple[str, ...] = ("painter",)
    demo: bool = False
    rewind: Rewind | None = None
    offer: str = ""  # stands until something is painted
    recording: str = ""  # what is filmed and kept
    read_prompt: PromptReader = ignore_prompt  # prompt and mood -> mood, and words unknown
