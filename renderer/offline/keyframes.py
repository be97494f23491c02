"""Keyframes: settings that change over the time of a video, read from a text file.

Each line is a time followed by settings, split as by a shell; `#` begins a comment:

    0      strength=0.5  prompt="a lake in winter"
    4.5    strength=0.8  feedback=0.3
    1:10   mood.sun=0.1  seed=7

strength, feedback, lora_scale and the mood are interpolated linearly between their keyframes; prompt,
look, seed and steps keep their value until the next keyframe.
"""

from __future__ import annotations

import re
import shlex
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from models.api import LOOKS, MOOD_AXES
from renderer.actions import InputError
from renderer.picture_params import PictureParams

EVEN = {"strength": 1.0, "feedback": 1.0, "lora_scale": 2.0} | {
    f"mood.{axis.name}": 1.0 for axis in MOOD_AXES
}
HELD = ("prompt", "look", "seed", "steps")
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Keyframes:
    """Keyframes by setting. tracks: name of a setting -> its (time in seconds, value), sorted by time."""

    tracks: dict[str, list[tuple[float, object]]] = field(default_factory=dict)

    def at(self, time_s: float, params: PictureParams, feedback: float) -> tuple[PictureParams, float]:
        """(settings, feedback) at a time; settings without keyframes keep the given value."""
        for name, track in self.tracks.items():
            value = value_at(track, time_s, even=name in EVEN)
            if name == "feedback":
                feedback = float(value)  # type: ignore[arg-type]  # interpolated tracks hold only numbers
            else:
                params = params.change(name, value)
        return params, feedback


def value_at(track: list[tuple[float, object]], time_s: float, *, even: bool) -> object:
    """Value of a track, constant before the first and after the last keyframe. even: interpolate."""
    at = bisect_right([begin_s for begin_s, _ in track], time_s)
    if at == 0:
        return track[0][1]
    if at == len(track) or not even:
        return track[at - 1][1]
    (begin_s, begin), (end_s, end) = track[at - 1], track[at]
    share = (time_s - begin_s) / (end_s - begin_s)
    return begin + share * (end - begin)  # type: ignore[operator]  # numbers, see above


def read_keyframes(path: Path) -> Keyframes:
    """Read a keyframe file. Raises InputError with the line number."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(f"{path} cannot be read: {words}") from error
    return parse_keyframes(text, path.name)


def parse_keyframes(text: str, name: str = "keyframes") -> Keyframes:
    """Parse the text of a keyframe file. name: file name for messages."""
    tracks: dict[str, list[tuple[float, object]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            time_s = parse_time(words[0])
            if len(words) == 1:
                raise ValueError("nothing is set at this time; write such as strength=0.5")
            for word in words[1:]:
                setting, value = parse_setting(word)
                track = tracks.setdefault(setting, [])
                if track and track[-1][0] >= time_s:
                    raise ValueError(f"the times of {setting} must rise")
                track.append((time_s, value))
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from error
    return Keyframes(tracks)


def parse_time(text: str) -> float:
    """Parse a time such as 12.5, 1:10 or 1:02:03 to seconds. Raises ValueError."""
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time; write seconds, or minutes:seconds")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def parse_setting(word: str) -> tuple[str, object]:
    """Parse NAME=VALUE to (name, value). Raises ValueError."""
    name, equals, text = word.partition("=")
    name = name.strip()
    if not equals:
        raise ValueError(f"{word!r} is no setting; write NAME=VALUE")
    if name == "look" and text not in LOOKS:
        raise ValueError(f"there is no look {text!r}; use {', '.join(LOOKS)}")
    if name in ("prompt", "look"):
        return name, text
    if name not in (*EVEN, *HELD):
        raise ValueError(f"there is no setting {name!r}; use {', '.join((*EVEN, *HELD))}")
    try:
        value = float(text) if name in EVEN else int(text)
    except ValueError:
        raise ValueError(f"{name} cannot be {text!r}: it takes a number") from None
    if name in EVEN and not 0 <= value <= EVEN[name]:
        raise ValueError(f"{name} must be from 0 to {EVEN[name]:.0f}, not {text}")
    if name in HELD and value < 0:
        raise ValueError(f"{name} cannot be below 0")
    return name, value
