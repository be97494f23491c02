"""State of the video recording, as shown in the window. Imports no video library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RecordingState(Enum):
    """State of the recorder.

    OFF: nothing is recorded. BUFFERING: only the last seconds are kept in memory. RECORDING: a file is
    being written. FAILED: the encoder or the file failed, and writing has stopped."""

    OFF = "off"
    BUFFERING = "buffering"
    RECORDING = "recording"
    FAILED = "failed"


@dataclass(frozen=True)
class RecordingStatus:
    """State and HUD line of the recording; the line is empty in state OFF."""

    state: RecordingState = RecordingState.OFF
    text: str = ""


NOT_RECORDING = RecordingStatus()
