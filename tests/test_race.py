"""Race view: tiles, keys, columns on one machine, and the command with its figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pygame
import pytest

from models.api import Frame, ModelCard, ModelError
from models.lab import racer
from renderer.picture_params import PictureParams
from renderer.race.race import Race, stepped
from renderer.race.view import figure_lines, tiles
from renderer.ui.simple_window import SimpleWindow

ROOT = Path(__file__).resolve().parent.parent


class Fake:
    """Model whose frame takes `pieces` ms; the picture's grey level is the request's sequence number."""

    def __init__(self, name: str, pieces: int):
        self.card, self.pieces = ModelCard(name, path=f"{pieces} evaluations"), pieces

    def render(self, request, *, cancelled):
        for index in range(self.pieces):
            if index and cancelled():
                raise AssertionError
            time.sleep(0.001)
        picture = np.full((*request.paper.shape[:2], 3), request.sequence % 256, np.uint8)
        return Frame(request, picture, {"render": 1.0})

    def close(self):
        pass


def load(spec: str):
    name, steps = spec.split(":")
    if name == "absent":
        raise ModelError("no model is named 'absent'")
    return lambda: Fake(name, int(steps))


@pytest.fixture
def race():
    made = Race(
        SimpleWindow("race", headless=True),
        load,
        ["slow:40", "fast:1"],
        ["slow:40", "fast:1", "other:3", "absent:1"],
        PictureParams(),
        (256, 256),
    )
    yield made
    made.close()


def until(race: Race, true, seconds: float = 10) -> None:
    deadline = time.perf_counter() + seconds
    while not true() and time.perf_counter() < deadline:
        race.tick()
    assert true()


def press(race: Race, key: int, word: str = "") -> None:
    race.obey(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=word, mod=0), time.perf_counter())


@pytest.mark.parametrize("count", range(2, 8))
def test_tiles_are_squares_that_do_not_meet(count):
    boxes = tiles(count, 1280, 720, 50, 24, 8)
    assert len(boxes) == count
    for index, box in enumerate(boxes):
        assert box.width == box.height > 150
        assert box.x0 >= 0 and box.x1 <= 1280 and box.y0 >= 0 and box.y1 + 50 <= 720 - 24
        assert all(box.intersect(other).empty for other in boxes[:index])


def test_the_fast_column_runs_ahead_of_the_slow_one(race):
    until(race, lambda: all(column.picture is not None for column in race.columns))
    slow, fast = race.columns
    before = fast.stats.model_frames, slow.stats.model_frames
    for _ in range(40):
        race.dirty(race.canvas.whole, time.perf_counter())
        race.tick()
    assert fast.stats.model_frames - before[0] > 2 * (slow.stats.model_frames - before[1])
    assert slow.own_ms() > 10 * fast.own_ms() > 0
    figures = race.figures()
    assert [column["column"] for column in figures["columns"]] == ["slow:40", "fast:1"]
    figures_shown = race.view.figures_shown[1]
    assert f"{figures_shown['own_ms']:.0f} ms a frame" in figure_lines(figures_shown)[0]


def test_every_column_gets_the_last_stroke(race):
    until(race, lambda: all(column.picture is not None for column in race.columns))
    race.dirty(race.canvas.whole, time.perf_counter())
    race.tick()
    newest = race._sequence
    until(race, lambda: all(column.picture[0, 0, 0] == newest % 256 for column in race.columns))
    calls = [column.engine.calls for column in race.columns]
    for _ in range(5):
        race.tick()
    assert [column.engine.calls for column in race.columns] == calls  # no change, no computation


def test_keys_change_columns(race):
    until(race, lambda: all(column.ready for column in race.columns))
    press(race, pygame.K_DOWN)
    assert race.columns[0].spec == "fast:1"
    press(race, pygame.K_PERIOD, ".")
    assert race.columns[0].spec == "fast:2"
    press(race, pygame.K_RIGHT)
    press(race, pygame.K_DOWN)
    press(race, pygame.K_DOWN)
    assert race.columns[1].spec == "other:3" and "no model is named" in race.message  # column unchanged
    press(race, pygame.K_a)
    assert [column.spec for column in race.columns] == ["fast:2", "other:3", "slow:40"]
    until(race, lambda: all(column.picture is not None for column in race.columns))
    for _ in range(5):
        press(race, pygame.K_x)
    assert len(race.columns) == 1 and race.message == "the last column cannot be removed"
    press(race, pygame.K_ESCAPE)
    assert not race.running


def test_a_late_column_does_not_lag_behind_strokes_from_before_its_time(race):
    until(race, lambda: all(column.ready for column in race.columns))
    race.dirty(race.canvas.whole, time.perf_counter() - 100)
    race.tick()
    press(race, pygame.K_a)
    until(race, lambda: race.columns[-1].stats.recent_ms)
    assert race.figures()["columns"][-1]["recent_pen_to_picture_ms"] < 50_000


def test_the_hand_paints_on_any_tile(race):
    race.tick()
    for kind, at in ((pygame.MOUSEBUTTONDOWN, 0), (pygame.MOUSEMOTION, 40), (pygame.MOUSEBUTTONUP, 40)):
        box = race.view.boxes[1]
        fields = {"pos": (box.x0 + 50 + at, box.y0 + 80), "button": 1}
        race.obey(pygame.event.Event(kind, **fields), time.perf_counter())
    assert race.canvas.pixels[..., 3].any()
    race.obey(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(1, 719), button=1), time.perf_counter())
    assert not race.canvas.drawing


def test_steps_go_up_and_down():
    assert stepped("a:ddim:50", 1) == "a:ddim:100" and stepped("a:ddim:50", -1) == "a:ddim:30"
    assert stepped("a:1", -1) == "a:1" and stepped("a:1000", 1) == "a:1000"


def test_a_race_without_some_weights(monkeypatch, tmp_path):
    """The race starts with the available models and names the missing ones."""
    monkeypatch.setattr(racer.contenders, "ASSETS", tmp_path)
    shutil.copy(ROOT / "assets" / "painter.safetensors", tmp_path)
    found, choices, missing = racer.field(None)
    assert found == ["painter:flow-euler:1"] and len(missing) == 5
    assert all("is left out: no weights of" in line for line in missing)
    assert all(choice.startswith("painter:") for choice in choices)
    message = "; ".join(missing)
    shown = Race(
        SimpleWindow("race", headless=True),
        load,
        ["fast:1"],
        [],
        PictureParams(),
        (256, 256),
        message=message,
    )
    shown.tick()
    assert shown.message == message
    shown.close()


def command(*arguments: str) -> subprocess.CompletedProcess:
    whole = [sys.executable, "main.py", "race", *arguments]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_command_reports_what_it_shows(tmp_path):
    film, last = tmp_path / "race.mp4", tmp_path / "race.png"
    done = command(
        *("--headless", "--seconds", "4", "--json"),
        *("--columns", "teacher:flow-euler:4,painter,diffusion:ddim:5"),
        *("--weights", str(tmp_path), "--record", str(film), "--save-last", str(last)),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["shown_fps"] > 4 and len(figures["columns"]) >= 2
    for column in figures["columns"]:
        assert (
            column["threads"] == 1
            and column["frames"] > 0
            and column["own_ms"] > 0
            and column["problem"] is None
        )
    assert len(figures["columns"]) == 3 and not figures["missing"]
    assert cv2.imread(str(last)).shape == (720, 1280, 3)
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) > 10


def test_bad_input_is_one_line():
    done = command("--headless", "--columns", ",")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("flowbrush: error: ',' names nothing at one place")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--columns", "foo:1"), "no contender is named 'foo'"),
        (("--columns", ""), "'' names nothing at one place"),
        (("--size", "100"), "must be a multiple of 32"),
        (("--record", "race.avi"), "must end in .mkv or .mp4"),
        (("--save-last", "/proc/last.png"), "cannot be written"),
        (("--demo", "absent"), "absent"),
    ],
)
def test_bad_words_are_refused(arguments, words, refused):
    assert words in refused("race", "--headless", *arguments)
