"""Tests of moods: values set by words and sliders, and their effect on the painter's pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.api import DEFAULT_MOOD, MOOD_AXES, Request
from models.painter import prompt_mood


def test_prompt_changes_the_picture_and_names_what_it_ignored(painter, paper):
    plain = painter.render(Request(paper))
    foggy = painter.render(Request(paper, prompt="foggy winter zeppelin"))
    assert foggy.notes == ("ignored: zeppelin",)
    assert not np.array_equal(plain.picture, foggy.picture)


@pytest.mark.parametrize(
    ("words", "axis", "rises"),
    [
        ("fog", "haze", True),
        ("clear", "haze", False),
        ("sunset", "warmth", True),
        ("Night", "sun", False),
        ("snowy peaks", "snow", True),
        ("deserts", "dryness", True),
        ("a very slightly foggy noon", "sun", True),
        ("bare", "vegetation", False),
    ],
)
def test_words_set_their_axis(words, axis, rises):
    at = [a.name for a in MOOD_AXES].index(axis)
    value = prompt_mood.read(words, DEFAULT_MOOD)[0][at]
    assert (value > DEFAULT_MOOD[at]) == rises and value != DEFAULT_MOOD[at]


def test_moods_compose():
    mood, ignored = prompt_mood.read("foggy winter sunset", DEFAULT_MOOD)
    values = dict(zip([a.name for a in MOOD_AXES], mood, strict=True))
    assert values["haze"] > 0.9 and values["snow"] > 0.9 and values["warmth"] > 0.9 and not ignored


@pytest.fixture(scope="module")
def mood_of(painter):
    """Function (prompt, whether the slopes are painted) -> the painter's picture of mountains, as floats."""
    ridge = [
        [0, 330],
        [90, 210],
        [150, 260],
        [260, 120],
        [330, 230],
        [400, 180],
        [512, 300],
        [512, 400],
        [0, 400],
    ]

    def picture(words: str, painted: bool = True) -> np.ndarray:
        paper = np.zeros((512, 512, 4), np.uint8)
        paper[:] = (118, 169, 222, 255)
        cv2.fillPoly(paper, [np.array(ridge, np.int32)], (122, 113, 106, 255) if painted else (0, 0, 0, 0))
        paper[380:430] = (38, 72, 44, 255)
        paper[430:] = (112, 146, 62, 255)
        return painter.render(Request(paper, prompt=words, strength=1, seed=3)).picture.astype(float)

    return picture


def sky_warmth(picture: np.ndarray) -> float:
    return (picture[:100, :, 0] - picture[:100, :, 2]).mean()


def land_contrast(picture: np.ndarray) -> float:
    return picture[250:380].mean(-1).std()


def slope_whiteness(picture: np.ndarray) -> float:
    return picture[200:330, 200:330].min(-1).mean()


def test_sunset_warms_the_sky(mood_of):
    assert sky_warmth(mood_of("sunset")) > sky_warmth(mood_of("")) + 8


def test_fog_lowers_contrast_most_where_land_is_far(mood_of):
    clear, foggy = mood_of("clear"), mood_of("fog")
    assert land_contrast(foggy) < 0.85 * land_contrast(clear)
    near = [picture[430:].mean(-1).std() for picture in (clear, foggy)]
    assert land_contrast(foggy) / land_contrast(clear) < near[1] / near[0]


def test_snow_whitens_slopes(mood_of):
    """Unpainted slopes whiten most; a slope painted as rock stays rock with some snow on it."""
    for painted, rise in ((False, 30), (True, 2)):
        snowy, summer = (slope_whiteness(mood_of(words, painted)) for words in ("snow", "summer"))
        assert snowy > summer + rise, (painted, snowy, summer)


def test_night_is_darker_than_noon(mood_of):
    assert mood_of("night").mean() < 0.8 * mood_of("noon").mean()


def test_moods_compose_in_the_picture(mood_of):
    plain, all_three = mood_of(""), mood_of("foggy winter sunset")
    assert sky_warmth(all_three) > sky_warmth(plain) + 8
    assert slope_whiteness(all_three) > slope_whiteness(plain)
    assert land_contrast(all_three) < land_contrast(mood_of("winter sunset"))
