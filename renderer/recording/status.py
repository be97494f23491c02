"""State of the video recording as the window shows it. Loads no video library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RecordingState(Enum):
    """OFF: nothing is recorded. BUFFERING: only the last seconds are kept in memory. RECORDING: a file is
    being written. FAILED: the encoder or the file failed, and nothing is written any more."""

    OFF = "off"
    BUFFERING = "buffering"
    RECORDING = "recording"
    FAILED = "failed"


@dataclass(frozen=True)
class RecordingStatus:
    """state, and one line for the HUD; the line is empty when nothing is recorded or kept."""

    state: RecordingState = RecordingState.OFF
    text: str = ""


NOT_RECORDING = RecordingStatus()
