"""Prompt parsing of the embedded painter: maps known words to mood axes and lists the others.

A word sets some axes of the mood. If several words set an axis, the last one wins. "very" and "slightly"
scale the effect of the next word. Axes that no word sets keep the sliders' values.
"""

from __future__ import annotations

import re

from models.api import MOOD_AXES

AXES = {axis.name: index for index, axis in enumerate(MOOD_AXES)}
FILLER = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "and",
        "with",
        "over",
        "under",
        "by",
        "near",
        "to",
        "some",
        "very",
        "slightly",
        "light",
        "deep",
    ]
)
STRETCH = {"very": 1.35, "deep": 1.35, "slightly": 0.5, "light": 0.5}

# word: axis values, 0..1
WORDS: dict[str, dict[str, float]] = {
    "night": {"sun": 0.0, "warmth": 0.1},
    "moonlight": {"sun": 0.05, "warmth": 0.1},
    "dawn": {"sun": 0.18, "warmth": 0.75},
    "sunrise": {"sun": 0.22, "warmth": 0.9},
    "morning": {"sun": 0.45, "warmth": 0.5},
    "noon": {"sun": 1.0, "warmth": 0.3},
    "day": {"sun": 0.8, "warmth": 0.4},
    "evening": {"sun": 0.28, "warmth": 0.8},
    "sunset": {"sun": 0.2, "warmth": 1.0},
    "dusk": {"sun": 0.1, "warmth": 0.6},
    "golden": {"sun": 0.3, "warmth": 1.0},
    "warm": {"warmth": 0.9},
    "cold": {"warmth": 0.05},
    "blue": {"warmth": 0.0},
    "fog": {"haze": 1.0},
    "mist": {"haze": 0.8},
    "haze": {"haze": 0.65},
    "clear": {"haze": 0.02, "clouds": 0.05},
    "sunny": {"sun": 0.8, "clouds": 0.1, "haze": 0.15},
    "cloud": {"clouds": 0.7},
    "overcast": {"clouds": 1.0, "warmth": 0.15},
    "storm": {"clouds": 1.0, "haze": 0.55, "warmth": 0.05},
    "winter": {"snow": 0.95, "warmth": 0.15, "vegetation": 0.35},
    "snow": {"snow": 0.95},
    "summer": {"snow": 0.0, "sun": 0.85, "vegetation": 0.75},
    "spring": {"snow": 0.15, "dryness": 0.1, "vegetation": 0.7},
    "autumn": {"warmth": 0.75, "dryness": 0.5, "vegetation": 0.8, "snow": 0.05},
    "desert": {"dryness": 1.0, "vegetation": 0.0, "snow": 0.0},
    "dry": {"dryness": 0.85},
    "lush": {"dryness": 0.0, "vegetation": 0.9},
    "green": {"dryness": 0.05, "vegetation": 0.85},
    "forest": {"vegetation": 1.0},
    "wooded": {"vegetation": 1.0},
    "bare": {"vegetation": 0.0},
    "barren": {"vegetation": 0.0, "dryness": 0.8},
    "alpine": {"snow": 0.65, "vegetation": 0.45},
    "tundra": {"snow": 0.5, "vegetation": 0.05},
}
ALIASES = {
    "midnight": "night",
    "moonlit": "moonlight",
    "midday": "noon",
    "fall": "autumn",
    "stormy": "storm",
    "wintry": "winter",
    "arid": "desert",
    "frozen": "winter",
    "bright": "sunny",
}


def known(word: str) -> str | None:
    """Look up a word, its alias or its stem (foggy, misty, snowy, clouds, forests); None if unknown."""
    for stem in (word, ALIASES.get(word, ""), word.rstrip("s"), word.removesuffix("y"), word[:-2]):
        if stem in WORDS:
            return stem
    if len(word) > 4 and word.endswith("y") and word[-2] == word[-3] and word[:-2] in WORDS:
        return word[:-2]
    return None


def read(prompt: str, mood: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return (mood with the prompt applied, unknown words in order without duplicates)."""
    values, ignored, stretch = list(mood), [], 1.0
    for word in re.findall(r"[^\W\d_]+", prompt.lower()):
        if word in STRETCH:
            stretch = STRETCH[word]
            continue
        entry = known(word)
        if entry is None:
            if word not in FILLER and word not in ignored:
                ignored.append(word)
            continue
        for name, target in WORDS[entry].items():
            axis = AXES[name]
            neutral = MOOD_AXES[axis].default
            values[axis] = min(1.0, max(0.0, neutral + (target - neutral) * stretch))
        stretch = 1.0
    return tuple(values), tuple(ignored)
