"""Tests of the comparison report of many and few steps: known figures, and the `compare` command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kernels.ops.noise import normal
from models import checkpoint
from models.api import ModelError, Request
from models.lab import compare, convergence, racer, report, trace
from models.lab.plan import QUICK, Plan
from models.painter.contenders import Contender, load, load_all
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import path_of

ROOT = Path(__file__).resolve().parent.parent
SMALL = NetworkConfig(widths=(8, 8, 16), blocks=(0, 0, 1, 0, 0), embedding=16)
TINY = Plan(
    side_px=64,
    pictures=2,
    converging=1,
    converged=32,
    steps=(1, 2),
    orders=(4, 8, 16),
    many=(10,),
    strengths=(0.5, 1.0),
    flow=("flow-euler", "flow-heun", "euler-a"),
    diffusion=("ddim", "heun", "dpm++2m"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Output folder as from `train`: weights of all contenders but one, and held-out views."""
    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    (root / "held-out").mkdir()
    shape = (4, 64, 64)
    np.savez(
        root / "held-out" / "shard-00000.npz",
        pictures=rng.integers(0, 256, (*shape, 3), np.uint8),
        labels=np.zeros(shape, np.uint8),
        moods=rng.random((4, 7), np.float32),
        sketches=rng.integers(0, 256, (4, 3, 64, 64, 4), np.uint8),
        strengths=rng.random((4, 3), np.float32),
    )
    (root / "teacher").mkdir()
    line = {"images": 48, "swd": 0.5, "denoising_error": 0.9}
    (root / "teacher" / "quality.jsonl").write_text(json.dumps(line) + "\n")
    torch.manual_seed(0)
    places = {
        "diffusion-linear/diffusion-linear": {"diffusion": "linear"},
        "teacher/teacher": {},
        "reflow/reflow": {},
        "finish/painter": {},
    }
    for place, about in places.items():
        network = PainterNetwork(SMALL)
        checkpoint.save(root / f"{place}.safetensors", network.state_dict(), {**SMALL.as_dict(), **about})
    return root


def condition_of(count: int, side: int = 16) -> Condition:
    zeros = torch.zeros(count, 1, side, side)
    return Condition(zeros.expand(-1, 3, -1, -1), zeros, torch.ones(count), torch.zeros(count, 7))


def still(name: str) -> Contender:
    """Contender with a straight flow: its network returns zeros, so its picture is constant."""
    return Contender(name, lambda x, *rest: torch.zeros_like(x), path_of(name))


def test_fitted_order_of_a_known_power():
    rows = [{"steps": n, "error": 3.0 / n**2 + (n < 16)} for n in (4, 8, 16, 32, 64)]
    assert convergence.fitted_order(rows, 0.0) == pytest.approx(2)
    assert convergence.fitted_order(rows[2:], 0.001) is None  # only one row is above the floor
    assert convergence.fitted_order([{"steps": 4, "error": 1.0}], 0.0) is None


def test_steps_to_a_distance():
    rows = [{"steps": n, "error": 0.64 / n} for n in (1, 4, 16, 64)]
    assert convergence.steps_to(rows, 0.08) == pytest.approx(8)
    assert convergence.steps_to(rows, 1.0) == 1 and convergence.steps_to(rows, 0.001) is None


def test_two_files_with_one_name_are_two_contenders(folder, tmp_path):
    other = tmp_path / "early" / "teacher.safetensors"
    other.parent.mkdir()
    shutil.copy(folder / "teacher" / "teacher.safetensors", other)
    found, _ = load_all(["teacher", str(other), "teacher"], folder)
    assert [one.name for one in found] == ["teacher", "early-teacher"]


def test_evaluations_are_counted():
    for sampler, steps, count in (("flow-euler", 4, 4), ("flow-heun", 4, 7), ("dpm++2m", 30, 30)):
        assert convergence.evaluations(still("flow"), sampler, steps) == count
    assert convergence.evaluations(still("linear"), "ddpm", 1000) == 1000


def test_a_straight_line_is_straight_and_an_arc_is_not():
    noise = torch.randn(2, 3, 16, 16)
    picture = torch.full((2, 3, 16, 16), 0.3)

    class Straight(Contender):
        def model(self, condition):
            return lambda x, t, step: picture

    line = trace.trace(Straight("flow", None, path_of("flow")), condition_of(2), noise)
    assert trace.straightness(line)["bend"] == pytest.approx(0, abs=1e-5)
    assert trace.straightness(line)["arc"] == pytest.approx(1, abs=1e-4)
    bent = trace.trace(Straight("cosine", None, path_of("cosine")), condition_of(2), noise)
    assert trace.straightness(bent)["bend"] > 0.05
    assert trace.components(line).shape == (65, 3) and trace.pixels(line).shape == (65, 5)
    assert np.abs(trace.components(line)[:, 1:]).max() < 1e-3


def test_speeds_are_relative_to_the_diffusion():
    rows = [
        {"contender": "teacher", "sampler": "dpm++2m", "steps": 30, "ms": 80.0, "fps": 12.5},
        {"contender": "diffusion-cosine", "sampler": "dpm++2m", "steps": 30, "ms": 100.0, "fps": 10.0},
        {"contender": "painter", "sampler": "flow-euler", "steps": 1, "ms": 4.0, "fps": 250.0},
    ]
    assert compare.add_speeds(rows)["contender"] == "diffusion-cosine"
    assert [row["speed"] for row in rows] == [1.25, 1.0, 25.0]
    assert compare.add_speeds(rows[2:]) is None and rows[2]["speed"] is None


def test_every_number_repeats_and_reaches_the_report(folder, tmp_path, monkeypatch):
    from models.painter import contenders

    monkeypatch.setattr(contenders, "ASSETS", tmp_path)  # no shipped weights replace the missing ones
    runs = [compare.compare(TINY, folder=folder, seed=3) for _ in range(2)]
    shown = [report.without_pictures(run) for run in runs]
    for run in shown:
        run["reference"] = None
        for row in run["rows"]:
            row["ms"] = row["fps"] = row["speed"] = 0
    assert json.dumps(shown[0]) == json.dumps(shown[1])
    figures = runs[0]
    assert figures["curves"]["teacher"] == [{"images": 48, "swd": 0.5, "denoising_error": 0.9}]
    shipped = figures["curves"]["diffusion-linear"]  # there is no log of it in this folder
    assert len(shipped) > 5 and shipped[-1]["denoising_error"] < shipped[0]["denoising_error"]
    assert len(figures["rows"]) == 3 * 2 + 1 + 2 * (3 * 2) + 3  # diffusion, teacher and reflow, painter
    assert set(figures["contenders"]) == {"diffusion-linear", "teacher", "reflow", "painter"}
    assert any("diffusion-cosine" in line for line in figures["missing"])
    assert figures["contenders"]["teacher"]["orders"].keys() == {"flow-euler", "flow-heun", "euler-a"}
    short, whole = figures["contenders"]["reflow"]["strengths"]
    assert short["way"] < whole["way"] and [line["steps"] for line in whole["errors"]] == [1, 2]
    for row in figures["rows"]:
        assert (row["distance"] is None) == (row["sampler"] == "ddpm" or row["contender"] == "painter")
    files = {path.name for path in report.write(figures, tmp_path / "out")}
    assert {
        "report.md",
        "figures.json",
        "filmstrip.png",
        "quality.png",
        "learning.png",
        "convergence-teacher.png",
    } <= files
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| teacher | flow Heun | 2 | 3 |" in text and "does not converge to the ODE" in text
    assert figures["contenders"]["teacher"]["film"]["shown"] == [1, 3, 5, 7, 10, 12, 14, 16]
    short = figures["contenders"]["painter"]["film"]
    assert short["shown"] == [1, 2, 3, 4] and short["strip"].shape == (4, 3, 64, 64)
    picture = cv2.imread(str(tmp_path / "out" / "filmstrip.png"))
    assert (picture[-60:, -120:] == 255).all() and (picture[:60, -120:] < 255).any()  # exactly four pictures


def test_what_diverged_is_null_in_json():
    figures = {"contenders": {}, "rows": [{"swd": float("nan"), "sharpness": [float("inf"), 1.0]}]}
    assert report.without_pictures(figures)["rows"] == [{"swd": None, "sharpness": [None, 1.0]}]


def test_nobody_to_compare(monkeypatch, tmp_path):
    from models.painter import contenders

    monkeypatch.setattr(contenders, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="no contender has weights here"):
        compare.compare(QUICK)


def test_orders_on_the_shipped_teacher_are_those_of_theory(paper):
    one = load("teacher")
    condition = racer.condition_of(Request(paper[::2, ::2].copy()))
    noise = normal(0, height=128, width=128, channels=3)[None]
    converged = convergence.converge(one, condition, noise, QUICK.converged)
    orders = {}
    for sampler in ("flow-euler", "flow-heun", "dpm++2m", "euler-a"):
        lines = convergence.errors(one, sampler, list(QUICK.orders), condition, noise, converged)
        orders[sampler] = convergence.fitted_order(lines, converged.floor)
    assert 0.8 <= orders["flow-euler"] <= 1.3 and 1.6 <= orders["flow-heun"] <= 2.6
    assert 1.6 <= orders["dpm++2m"] <= 2.6 and orders["euler-a"] < 0.3


@pytest.mark.slow
def test_stdout_is_one_json_object(tmp_path):
    command = [sys.executable, "main.py", "compare", "--quick", "--json", "--contenders", "painter"]
    whole = [*command, "--weights", str(tmp_path)]  # an empty folder
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {"rows", "contenders", "reference", "missing"} <= set(figures)
    assert [row["evaluations"] for row in figures["rows"]] == [1, 2, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--contenders", "foo"), "no contender is named 'foo'; choose diffusion-linear"),
        (("--contenders", "teacher,"), "'teacher,' names nothing at one place"),
        (("-o", "/proc/report"), "cannot be written"),
        (("--weights", "absent"), "absent is no folder"),
    ],
)
def test_bad_words_are_refused(arguments, words, refused):
    assert words in refused("compare", "--quick", *arguments)
