"""Picture parameters: valid looks, changes that start a new epoch, and values read from files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.api import DEFAULT_MOOD, MAX_PROMPT_CHARS, MOOD_AXES
from renderer.actions import InputError
from renderer.cli.settings import side_px
from renderer.picture_params import PictureParams

PAPER = np.zeros((256, 256, 4), np.uint8)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("strength", 1.7, 1.0),
        ("strength", "0.25", 0.25),
        ("strength", float("nan"), 0.0),
        ("steps", 0, 1),
        ("steps", 999, 50),
        ("seed", -4, 0),
        ("seed", 2**70, 2**63 - 1),
        ("prompt", " fog\n over  hills ", "fog over hills"),
        ("target_fps", -1, 0.0),
        ("model", "monet", "monet"),
    ],
)
def test_a_change_is_kept_in_its_range(name, value, found):
    assert getattr(PictureParams().change(name, value), name) == found


def test_each_mood_axis_is_changed_by_its_name():
    for at, axis in enumerate(MOOD_AXES):
        mood = PictureParams().change(f"mood.{axis.name}", 0.99).mood
        assert mood[at] == 0.99
        assert mood[:at] + mood[at + 1 :] == DEFAULT_MOOD[:at] + DEFAULT_MOOD[at + 1 :]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", 1),
        ("mood.", 1),
        ("mood.joy", 1),
        ("strength", "much"),
        ("steps", None),
        ("seed", float("inf")),
        ("prompt", "x" * 10_000),
    ],
)
def test_a_bad_change_is_one_line(name, value):
    with pytest.raises(InputError) as error:
        PictureParams().change(name, value)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


def test_the_longest_prompt_will_do():
    assert len(PictureParams().change("prompt", "x" * MAX_PROMPT_CHARS).prompt) == MAX_PROMPT_CHARS


def test_model_seed_prompt_and_mood_begin_an_epoch_and_nothing_else_does():
    params = PictureParams()
    for name, value in (("model", "b"), ("seed", 1), ("prompt", "fog"), ("mood.sun", 0.0)):
        assert params.change(name, value).starts_epoch(params)
    for name, value in (("strength", 0.1), ("steps", 4), ("target_fps", 30)):
        assert not params.change(name, value).starts_epoch(params)


def test_a_look_survives_a_file():
    params = PictureParams(steps=3, strength=0.123, seed=2**63 - 1, prompt='"é"', lora_scale=0.7)
    params = params.change("mood.haze", 0.777)
    assert PictureParams.from_dict(json.loads(json.dumps(params.as_dict()))) == params


def test_a_look_survives_a_request():
    params = PictureParams("painter", 3, 0.3, 7, "fog", lora_scale=0.7).change("mood.haze", 0.777)
    assert PictureParams.of(params.request(PAPER, sequence=4), "painter") == params


@pytest.mark.parametrize("values", [{"mood": 3}, {"mood": {"joy": 1}}, {"steps": "x"}, {"seed": []}])
def test_a_file_that_is_no_look_is_one_line(values):
    with pytest.raises(InputError):
        PictureParams.from_dict(values)


@pytest.mark.parametrize("size", [0, -512, 255, 300, 2049, 2080])
def test_a_size_that_will_not_do_says_which_does(size):
    with pytest.raises(InputError, match="multiple of 32 from 256 to 2048"):
        side_px(size)


@pytest.mark.parametrize("size", [256, 512, 1056, 2048])
def test_sizes_that_do(size):
    assert side_px(size) == size
