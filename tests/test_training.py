"""Training stages by the command in quick mode, resuming, and quality metrics with known values."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models import training
from models.api import ModelError
from models.training.color_painter import stages as recipe
from models.training.data.dataset import Views
from models.training.data.user_images import Pictures
from models.training.evaluation import metrics
from models.training.run import Run, follow, learning_rate
from models.training.times import end_heavy_times, sample_times, step_times

ROOT = Path(__file__).resolve().parent.parent


def train(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "main.py", "train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
def test_all_stages_run_quick_and_own_pictures_after_them(tmp_path):
    folder = tmp_path / "work"
    done = train("all", "--painter", "colors", "--quick", "--folder", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout, parse_constant=pytest.fail)
    assert {"painter 1", "painter 2", "painter 4", "teacher 25", "sketch"} <= set(
        figures["sizes"]["128"]["swd"]
    )
    assert figures["locality"] == 0
    assert set(figures["straightness"]) == {"painter", "student", "reflow", "teacher"}
    stages = ("teacher/teacher", "reflow/reflow", "distil/student", "finish/painter", "calibrate/painter")
    for name in (*stages, "assets/painter"):
        assert (folder / f"{name}.safetensors").stat().st_size > 1_000_000
    assert list((folder / "teacher").glob("grid-*.png"))
    assert cv2.imread(str(folder / "gallery.png")).shape[1] == 4 * 512
    assert "| teacher 25 |" in (folder / "figures.md").read_text()

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for index, side in enumerate((300, 90)):
        cv2.imwrite(
            str(pictures / f"{index}.png"), rng.integers(0, 255, (side, side + 40, 3), dtype=np.uint8)
        )
    (pictures / "broken.jpg").write_bytes(b"no picture")
    done = train("finish", "--quick", "--folder", str(folder), "--images", str(pictures), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["pictures"], made["skipped"]) == (1, 2)
    out = tmp_path / "out.png"
    rendered = [sys.executable, "main.py", "render", "assets/sketches/lake.png", "-o", str(out)]
    subprocess.run([*rendered, "--model", made["weights"]], cwd=ROOT, check=True, timeout=120)
    assert cv2.imread(str(out)).shape == (512, 512, 3)


def test_what_ships_is_judged_without_training_data(tmp_path):
    """Evaluation makes and keeps a few views; the rest of the training data can still be made."""
    few = replace(recipe.QUICK, views=3, view_px=64, held_out_px=64, evaluate_px=(64,))
    figures = recipe.measure(tmp_path, few)
    assert figures["count"] == few.held_out and {"painter 1", "teacher 25"} <= set(
        figures["sizes"][64]["swd"]
    )
    assert len(Views(tmp_path / "views")) == 3 and (tmp_path / "gallery.png").is_file()


def test_unknown_stage_is_one_line():
    done = train("nonsense")
    assert done.returncode == 1
    assert done.stderr.startswith("flowbrush: error: ") and done.stderr.count("\n") == 1


def test_no_usable_pictures_is_one_line(tmp_path):
    with pytest.raises(ModelError, match="not a folder"):
        Pictures(tmp_path / "absent", 64)
    with pytest.raises(ModelError, match="0 skipped"):
        Pictures(tmp_path, 64)


def test_run_goes_on_where_it_was_killed(tmp_path):
    def start() -> tuple[Run, torch.nn.Linear]:
        module = torch.nn.Linear(2, 2)
        return Run(tmp_path / "stage", {"module": module}, total_steps=10, batch_size=4), module

    run, module = start()
    for step in run.steps():
        with torch.no_grad():
            module.weight.fill_(step)
        run.note(loss=step)
        if step == 6:
            break
    again, restored = start()
    assert again.step == 6
    assert torch.equal(restored.weight, module.weight)
    assert list(again.steps()) == [6, 7, 8, 9]
    line = json.loads((tmp_path / "stage" / "log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 10 and line["images"] == 40


def test_state_of_another_network_is_refused(tmp_path):
    Run(tmp_path, {"module": torch.nn.Linear(2, 2)}, 10, 4).save()
    with pytest.raises(ModelError, match="another network"):
        Run(tmp_path, {"module": torch.nn.Linear(3, 2)}, 10, 4)


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] < 0.03 and rates == sorted(rates[:101]) + sorted(rates[101:], reverse=True)


def test_average_follows():
    module, average = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for step in range(400):
        follow(average, module, 0.9, step)
    assert torch.allclose(module.weight, average.weight, atol=1e-6)


def test_times_stay_in_their_range():
    for times in (sample_times(4000), end_heavy_times(4000)):
        assert times.min() > 0 and times.max() <= 1
    assert (sample_times(4000) == 1).float().mean() == pytest.approx(0.15, abs=0.03)
    t, step = step_times(600)
    pairs = {(round(a, 2), round(b, 2)) for a, b in zip(t.tolist(), step.tolist(), strict=True)}
    assert pairs == {(1, 1), (1, 0.5), (0.5, 0.5), (1, 0.25), (0.75, 0.25), (0.5, 0.25), (0.25, 0.25)}


def textured(seed: int, count: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count, 3, 96, 96), generator=generator)
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(-1, 1)


def test_distances_rank_sets():
    real, other = textured(0), textured(1)
    blurred = torch.nn.functional.avg_pool2d(other, 5, 1, 2)
    assert metrics.swd(other, real) < 0.2 * metrics.swd(blurred, real)
    assert metrics.kid_random(other, real, 3)[0] < 0.2 * metrics.kid_random(blurred, real, 3)[0]
    assert all(0.9 < s < 1.1 for s in metrics.sharpness(other, real))
    assert metrics.sharpness(blurred, real)[0] < 0.1


def test_sketch_error_is_a_colour_difference():
    alpha = torch.ones(1, 1, 64, 64)
    grey, white = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    assert metrics.sketch_error(grey, grey, alpha) == 0
    assert metrics.sketch_error(white, -white, alpha) == pytest.approx(100, abs=0.5)
    assert np.isnan(metrics.sketch_error(grey, grey, alpha * 0))


def test_nearest_patch_finds_a_copy():
    training = textured(0)
    assert metrics.nearest_patch(training, training) < metrics.nearest_patch(textured(2), training)


def test_an_unknown_stage_is_told_without_what_training_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # as if not installed
    for painter in ("color_painter", "material_painter"):
        monkeypatch.delitem(sys.modules, f"models.training.{painter}.stages", raising=False)
    with pytest.raises(ModelError, match="no stage is named 'finnish'; choose data, teacher"):
        training.run_stage("finnish")


@pytest.mark.parametrize("stage", ["data", "evaluate", "finish"])
def test_without_numba_is_one_line(stage, tmp_path):
    """A missing numba, which the README's first command does not install, is a one-line error."""
    words = f"['main.py', 'train', {stage!r}, '--quick', '--folder', {str(tmp_path)!r}]"
    code = f"import sys; sys.modules['numba'] = None; sys.argv = {words}; import main; main.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("flowbrush: error: ") and done.stderr.count("\n") == 1
    assert "numba" in done.stderr and ".[lab]" in done.stderr
