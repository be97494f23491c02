"""Flows in the plane: measures with known values, straightening, and the command that plots it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import av
import cv2
import pytest
import torch

from models.api import ModelError
from models.lab import plane
from models.lab.straighten import STAGES, distance, straighten, straightness

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments: str) -> subprocess.CompletedProcess:
    whole = [sys.executable, "main.py", "straighten", *arguments]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("name", plane.SETS)
def test_sets_fill_what_is_shown(name):
    points = plane.SETS[name](4000, torch.Generator().manual_seed(0))
    assert points.shape == (4000, 2) and points.abs().quantile(0.99) < 2.9
    assert points.mean(0).abs().max() < 0.35 and 0.4 < points.std() < 1.7


def test_straightness_of_a_line_and_of_a_half_circle():
    share = torch.linspace(0, 1, 401)[:, None, None]
    bend, arc = straightness(torch.cat((share * 3, share * 0), 2))
    assert bend == pytest.approx(0, abs=1e-6) and arc == pytest.approx(1, abs=1e-5)
    angle = share * math.pi
    bend, arc = straightness(torch.cat((angle.cos(), angle.sin()), 2))
    assert arc == pytest.approx(math.pi / 2, rel=1e-3)
    assert bend == pytest.approx(math.pi**2 / 4 - 1, rel=1e-3)  # |v|^2 = pi^2, chord 2


def test_distance_of_shifted_sets():
    points = torch.randn(500, 2)
    assert distance(points, points) == 0
    assert distance(points, points + torch.tensor([1.0, 0.0])) == pytest.approx(2 / math.pi, rel=0.01)


def test_unknown_set_is_named():
    with pytest.raises(ModelError, match="no distribution is named 'foo'; choose normal, moons"):
        straighten("foo", "rings")


@pytest.mark.slow
def test_reflow_straightens_and_one_step_lands():
    torch.set_num_threads(1)
    last = {shown.stage: shown for shown in straighten("normal", "gaussians", steps=500, frames=2)}
    flow, once, twice = (last[stage] for stage in range(3))
    assert once.bend < flow.bend / 10 and twice.bend < once.bend
    assert once.one_step_distance < flow.one_step_distance / 3
    assert twice.one_step_distance < 1.3 * flow.many_step_distance


def test_same_seed_same_numbers():
    runs = [[s.numbers() for s in straighten("moons", "rings", steps=4, frames=2)] for _ in range(2)]
    assert runs[0] == runs[1] and len(runs[0]) == 6


def test_command_writes_picture_and_figures(tmp_path):
    out = tmp_path / "flows.png"
    done = command("--headless", "--steps", "4", "-o", str(out), "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert tuple(figures) == STAGES and figures["reflow"]["bend"] > 0
    assert cv2.imread(str(out)).shape == (720, 1280, 3)


def test_command_writes_a_film(tmp_path):
    out = tmp_path / "flows.mp4"
    done = command("--headless", "--steps", "2", "-o", str(out))
    assert done.returncode == 0, done.stderr
    with av.open(str(out)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 6 + 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--source", "foo"), "no distribution is named 'foo'"),
        (("-o", "flows.txt"), "must end in .png, .mp4 or .mkv"),
        (("-o", "/proc/flows.png"), "cannot be written"),
    ],
)
def test_bad_words_are_refused(arguments, words, refused):
    assert words in refused("straighten", "--headless", *arguments)
