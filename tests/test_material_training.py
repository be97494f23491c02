"""Tests of material training: sketches, labelled pictures, critics, losses, plan, stages."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.api import LOOKS, MATERIALS, ModelError
from models.painter.materials.flow import MaterialFlow
from models.painter.materials.network import MaterialConfig
from models.painter.materials.plan import PlanConfig, PlanNetwork, fill_blanks
from models.training import allocator_settings
from models.training.data import labelled_pictures
from models.training.data.crops import Crops, Prefetcher
from models.training.data.labelled_views import LabelledView
from models.training.data.material_sketcher import KINDS, sketch
from models.training.evaluation import hand_sketches, recognition
from models.training.material_painter import critics, finish, losses, plan

ROOT = Path(__file__).resolve().parent.parent
TINY = MaterialConfig(widths=(32, 32, 32), blocks=(0, 0, 1, 0, 1), embedding=16)
SKY, ROCK, WATER = 1, 5, 9


def view(side: int = 160, seed: int = 0) -> LabelledView:
    """Training view of sky over rock over water, with grain."""
    rng = np.random.default_rng(seed)
    labels = np.full((side, side), SKY, np.uint8)
    labels[side // 3 :], labels[2 * side // 3 :] = ROCK, WATER
    colors = np.array([(0, 0, 0), *(m.color for m in MATERIALS)], np.int16)
    picture = np.clip(colors[labels] + rng.integers(-20, 20, (side, side, 1)), 0, 255).astype(np.uint8)
    return LabelledView(picture, labels, np.full(7, 0.5, np.float32))


def write_pictures(folder: Path, count: int = 12, kind: str = "photo", **changed) -> Path:
    """Write a picture folder as `--pictures` expects it."""
    rows = []
    for index in range(count):
        one = view(200, index)
        file = f"{kind}s/{index}.png"
        for path, content in ((file, one.picture[..., ::-1]), (f"labels/{file}", one.labels)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / path), content)
        rows.append({"file": file, "kind": kind, "title": f"Hill | {index}", "author": "A", "licence": "CC0"})
        rows[-1] |= {"source": "here"} | changed
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, labelled_pictures.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Use one torch thread: small tensors gain nothing from a second and wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Sketches


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sketch_paints_materials_that_the_view_has(kind):
    rng, painted = np.random.default_rng(0), 0.0
    for _ in range(6):
        paper, materials = sketch(*view()[:2], rng, 0.5, kind=kind)
        assert paper.shape == (160, 160, 4) and materials.dtype == np.uint8
        assert set(np.unique(materials)) <= {0, SKY, ROCK, WATER}
        bare = paper[..., 3] == 0
        assert not paper[bare].any() and not materials[bare].any()
        painted += 1 - bare.mean()
    assert painted > (0 if kind == "blank" else 0.3)


def test_some_sketches_are_mostly_blank_and_some_have_paint_of_unknown_material():
    rng = np.random.default_rng(1)
    made = [sketch(*view(96)[:2], rng, 0.5) for _ in range(150)]
    blank = np.array([(paper[..., 3] == 0).mean() for paper, _ in made])
    assert (blank > 0.7).mean() > 0.1 and (blank < 0.05).mean() > 0.2
    unknown = [((paper[..., 3] > 0) & (m == 0)).sum() > 0.05 * (paper[..., 3] > 0).sum() for paper, m in made]
    assert 0.06 < np.mean(unknown) < 0.25


def test_a_sketch_is_quick():
    """One thread draws during training; 50 sketches per second are enough for two cores with AMX."""
    rng, one = np.random.default_rng(0), view(128)
    began = time.process_time()
    for _ in range(40):
        sketch(one.picture, one.labels, rng, 0.5)
    assert (time.process_time() - began) / 40 < 0.020


def test_sketches_by_hand_use_every_kind():
    found = {name: (paper, materials) for name, paper, materials in hand_sketches.drawn(128)}
    assert len(found) == 12 and not found["blank"][0].any()
    paper, materials = found["free_colors"]
    assert paper[..., 3].any() and not materials.any()
    assert len(np.unique(found["lake"][1])) >= 5


# Pictures with a manifest


def test_pictures_are_split_by_name_and_credited(tmp_path):
    write_pictures(tmp_path, 24)
    training, held = (labelled_pictures.load(tmp_path, held_out=side) for side in (False, True))
    names = [{one.entry.file for one in found} for found in (training, held)]
    assert len(training) + len(held) == 24 and held and not names[0] & names[1]
    assert min(training[0].picture.shape[:2]) == labelled_pictures.SHORT_PX
    assert set(np.unique(training[0].labels)) == {SKY, ROCK, WATER} and training[0].look == "photo"
    table = labelled_pictures.credits(tmp_path)
    assert table.count("CC0") == len(training) and "Hill \\| " in table


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "manifest.csv").unlink(), "no manifest.csv"),
        (lambda folder: (folder / "manifest.csv").write_text("file,kind\na,photo\n"), "needs the columns"),
        (lambda folder: (folder / "photos" / "1.png").write_bytes(b"no"), "cannot be read"),
        (
            lambda folder: cv2.imwrite(str(folder / "labels/photos/1.png"), np.full((9, 9), 99, np.uint8)),
            "labels go from 0 to 12",
        ),
    ],
)
def test_a_bad_folder_of_pictures_is_one_line(tmp_path, spoil, words):
    spoil(write_pictures(tmp_path))
    with pytest.raises(ModelError, match=words) as raised:
        for side in (False, True):
            labelled_pictures.load(tmp_path, held_out=side)
    assert "\n" not in str(raised.value)


def test_an_unknown_kind_names_its_line(tmp_path):
    write_pictures(tmp_path, kind="film")
    with pytest.raises(ModelError, match="line 2: kind is photo, painting or print"):
        labelled_pictures.read_manifest(tmp_path)


def test_the_mood_of_a_picture_follows_its_colours():
    snowy, dark = view(), view()
    snowy.labels[snowy.labels == ROCK] = 4
    axes = ["sun", "warmth", "haze", "clouds", "snow", "dryness", "vegetation"]
    mood = dict(zip(axes, labelled_pictures.mood_of(*snowy[:2]), strict=True))
    assert mood["snow"] > 0.9 and mood["vegetation"] == 0
    night = labelled_pictures.mood_of(dark.picture // 5, dark.labels)
    assert night[0] < 0.3 * labelled_pictures.mood_of(dark.picture, dark.labels)[0]


# Crops and batches


def test_a_batch_says_what_stands_there_and_what_is_wanted():
    crops = Crops([view(256)], crop_px=64)
    batch = crops.batch(np.random.default_rng(0), 24)
    assert batch.picture.shape == (24, 3, 64, 64) and batch.picture.abs().max() <= 1
    assert set(batch.labels.unique().tolist()) <= {SKY - 1, ROCK - 1, WATER - 1}
    painted = batch.condition.means[:, 3] > 0.5
    known = painted & (batch.wanted >= 0)
    assert (batch.wanted == batch.labels)[known].float().mean() > 0.7
    assert (batch.wanted[~painted] >= 0).any() and (batch.wanted[~painted] < 0).any()  # planned and unplanned
    sums = batch.condition.materials.sum(1)
    assert sums.max() < 1.001 and (sums[painted] > 0.5).all()
    assert (batch.condition.height[:, 0].diff(dim=1) > 0).all()


def test_crops_need_something_to_cut():
    with pytest.raises(ValueError, match="no views"):
        Crops([], [])


def test_the_same_step_draws_the_same_samples():
    crops = Crops([view(128)], crop_px=64)

    def draw(rng):
        return [crops.sample(rng)]

    one, other = (Prefetcher(draw, seed=3, first=first) for first in (0, 2))
    early = [one.take() for _ in range(3)]
    assert np.array_equal(early[2][0].paper, other.take()[0].paper)
    one.close(), other.close()


def test_an_error_while_drawing_is_raised_where_it_is_waited_for():
    def draw(rng):
        raise RuntimeError("broken shard")

    ahead = Prefetcher(draw, seed=0, first=0)
    with pytest.raises(RuntimeError, match="broken shard"):
        ahead.take()
    ahead.close()


# Critics and losses


def test_critics_have_a_head_for_every_look():
    torch.manual_seed(0)
    critic, pixels = critics.PixelCritic().eval(), torch.rand(1, 3, 32, 32)
    made = [critic(pixels, torch.tensor([look])) for look in range(len(LOOKS))]
    assert made[0].shape == (1, 13, 8, 8)
    assert not any(torch.equal(made[0], other) for other in made[1:])


def test_the_painter_is_told_to_read_as_painted_and_not_as_made():
    weights, wanted = torch.ones(13), torch.full((1, 4, 4), 2)
    wanted[0, :, :2] = -1

    def loss(favoured: int) -> float:
        logits = torch.zeros(1, 13, 4, 4)
        logits[:, favoured] = 6
        return critics.painter_loss(logits, wanted, weights).item()

    assert loss(2) < loss(5) < loss(critics.MADE)


def test_critics_learn_to_tell_materials_and_made():
    torch.manual_seed(0)
    critic, look = critics.PixelCritic(), torch.zeros(2, dtype=torch.int64)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    labels[:, :, 4:] = 3
    real = torch.where(labels == 0, -0.7, 0.7).repeat_interleave(4, 1).repeat_interleave(4, 2)
    real, made = real[:, None].expand(-1, 3, -1, -1), torch.zeros(2, 3, 32, 32)
    for _ in range(40):
        loss = critics.critic_loss(critic(real, look), critic(made, look), labels, torch.ones(13))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert (critic(real, look).argmax(1) == labels).float().mean() > 0.9
    assert (critic(made, look).argmax(1) == critics.MADE).float().mean() > 0.9


def test_rare_materials_weigh_more():
    weights = critics.ClassWeights()
    for _ in range(200):
        found = weights.update(torch.tensor([0] * 95 + [1] * 5))
    assert found[0] == pytest.approx(0.3) and found[1] > 1.5 and found[12] == 1


def test_damping_is_the_squared_slope():
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    step = 0.01 * torch.randn(4000, generator=torch.Generator().manual_seed(1))
    assert critics.damping(3 * x, 3 * (x + step), 0.01).item() == pytest.approx(9, rel=0.1)


def test_anchors_bind_where_paint_speaks():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    wanted, covered = labels.clone(), torch.ones(1, 1, 8, 8)
    wanted[0, :4], covered[0, 0, :, 4:] = 5, 0  # the upper half contradicts the view, the right half is blank
    bound = losses.anchor_weights(labels, wanted, covered)[0, 0]
    assert bound[6, 1] == 1 and bound[1, 1] == bound[6, 6] == pytest.approx(losses.BLANK_WEIGHT)
    target = torch.zeros(1, 3, 32, 32)
    here, there = target.clone(), target.clone()
    here[..., 24:32, :8], there[..., :8, 24:] = 1, 1
    weights = bound[None, None]
    assert losses.anchor_loss(here, target, weights) > 5 * losses.anchor_loss(there, target, weights)


@pytest.mark.parametrize("crop_px", [64, 96, 128, 256])
def test_windows_stay_off_the_border_and_their_labels_fit(crop_px):
    rng = np.random.default_rng(0)
    y = torch.arange(crop_px // 4).view(1, -1, 1).expand(1, -1, crop_px // 4)
    rows = torch.arange(crop_px, dtype=torch.float32).view(1, 1, -1, 1).expand(1, 3, -1, crop_px)
    sides = set()
    for _ in range(60):
        for window in (finish.feature_window(crop_px, rng), finish.pixel_window(crop_px, rng)):
            assert window.y >= finish.MARGIN_PX and window.y + window.side <= crop_px - finish.MARGIN_PX
            labels, pixels = window.cells(y)[0, :, 0], window.pixels(rows)
            means = torch.nn.functional.avg_pool2d(pixels, 4)[0, 0, :, 0]
            assert (labels - (means - 1.5) / 4).abs().max() < 1.2  # a cell's label is that of its centre
            sides.add(window.side)
    assert len(sides) > 5


@pytest.fixture(scope="module")
def trained():
    """Tiny painter trained on two materials for a few seconds."""
    torch.manual_seed(0)
    crops, rng = Crops([view(160)], crop_px=64), np.random.default_rng(0)
    made = finish.Finish(MaterialFlow(TINY), finish.Recipe(warm_up=2, one_step=0.7, critic_ramp=20))
    noted = []
    for step in range(44, 60):  # damping starts at 60 % of the steps
        noted.append(made.step(crops.batch(rng, 2), step=step, total=66, rng=rng))
    return made, noted


def test_the_finish_learns_colours_and_runs_all_its_losses(trained):
    _, noted = trained
    names = {name for one in noted for name in one}
    assert names == {
        "judged",
        "judged_near",
        "damped",
        "critic",
        "features",
        "anchor",
        "agreement",
    }
    anchors = [one["anchor"] for one in noted if "anchor" in one]
    assert np.mean(anchors[-5:]) < 0.7 * np.mean(anchors[:3])
    assert all(np.isfinite(value) for one in noted for value in one.values())


def test_a_small_painter_learns_the_pictures_of_a_teacher(trained):
    teacher = trained[0].average
    torch.manual_seed(1)
    crops, rng = Crops([view(160)], crop_px=64), np.random.default_rng(0)
    small = finish.Finish(MaterialFlow(TINY), finish.Recipe(warm_up=3, critic_ramp=1000), teacher)
    noted = [small.step(crops.batch(rng, 2), step=step, total=60, rng=rng) for step in range(12)]
    assert all("agreement" in one for one in noted)
    assert np.mean([one["agreement"] for one in noted[-4:]]) < np.mean(
        [one["agreement"] for one in noted[:3]]
    )


# Plan


def test_the_plan_learns_that_sky_is_above_and_fills_only_blanks(tmp_path):
    network = plan.train(
        [view(128, seed) for seed in range(3)],
        tmp_path,
        steps=240,
        batch_size=8,
        config=PlanConfig(16, (1, 2, 4)),
    )
    assert (tmp_path / "plan.safetensors").is_file()
    batch = Crops([view(512)], crop_px=512).batch(np.random.default_rng(2), 1)
    empty = batch.condition._replace(means=batch.condition.means * 0, materials=batch.condition.materials * 0)
    filled = fill_blanks(empty, plan.load(tmp_path / "plan.safetensors"))
    shares = filled.materials[0, 1:]
    assert (shares[:, :16].sum((1, 2)).argmax() == SKY - 1) and (
        shares[:, -16:].sum((1, 2)).argmax() == WATER - 1
    )
    full = batch.condition._replace(means=torch.ones_like(batch.condition.means))
    assert torch.equal(fill_blanks(full, network).materials, full.materials)


def test_the_plan_costs_next_to_nothing():
    assert PlanNetwork().gflop(512, 512) < 0.2


# Figures


def test_frechet_of_known_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20000, 3, generator=generator)
    b = 2 * torch.randn(20000, 3, generator=generator) + torch.tensor([1.0, 0, 0])
    assert recognition.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert recognition.frechet(a, b) == pytest.approx(1 + 3 * (2 - 1) ** 2, rel=0.05)


def turned(one: LabelledView) -> LabelledView:
    """A view and its labels turned upside down."""
    return LabelledView(one.picture[::-1].copy(), one.labels[::-1].copy(), one.mood)


def test_reads_and_fd_rank_pictures():
    network = recognition.load_features()
    views = [turned(view(128, seed)) if seed % 2 else view(128, seed) for seed in range(6)]
    real = recognition.Judged.of(network, [one.picture for one in views])
    labels = torch.cat([recognition.place_labels(one.labels) for one in views])
    probe = recognition.Probe(real.places, labels)
    wrong = recognition.Judged.of(network, [turned(one).picture for one in views])
    grey = recognition.Judged.of(network, [np.full_like(one.picture, 128) for one in views])
    again = recognition.Judged.of(
        network,
        [
            turned(view(128, 10 + seed)).picture if seed % 2 else view(128, 10 + seed).picture
            for seed in range(6)
        ],
    )
    assert probe.reads(real.places, labels) > 0.9 > 0.6 > probe.reads(wrong.places, labels)
    assert probe.reads(again.places, labels) > 0.9
    assert all(a < 0.2 * b for a, b in zip(again.fd(real), grey.fd(real), strict=True))


# The training program


def test_allocator_settings_are_asked_for_once(monkeypatch):
    for name in allocator_settings.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    wanted = allocator_settings.missing_settings()
    assert bool(wanted) == sys.platform.startswith("linux")
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    assert not allocator_settings.missing_settings()


@pytest.mark.slow
def test_all_stages_run_quick_and_go_on(tmp_path):
    folder, pictures = tmp_path / "work", write_pictures(tmp_path / "pictures")
    command = [sys.executable, "main.py", "train", "all", "--quick", "--folder", str(folder)]
    command += ["--pictures", str(pictures), "--json"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures["looks"]) == {"scenic", "photo"}
    painters = figures["looks"]["photo"]["painters"]
    assert set(painters) == {"ships", "painter", "painter-small"}
    assert painters["painter"]["1"]["nearest"]["real to training"] > 0
    assert set(painters["painter"]) == {"1", "2", "4"} and len(painters["painter"]["1"]["fd"]) == 3
    for name in ("material-painter", "material-painter-small", "plan"):
        assert (folder / "assets" / f"{name}.safetensors").is_file()
    assert "| photo |" in (folder / "credits.md").read_text()
    stages = [json.loads(line)["stage"] for line in (folder / "stages.jsonl").read_text().splitlines()]
    assert stages[0] == "data" and stages[-1] == "export" and len(stages) == 9
    assert list((folder / "forms").glob("grid-*.jpg"))
    columns = cv2.imread(str(folder / "gallery.png")).shape[1] // 256
    assert columns == 1 + 2 + 2 * 2 * 2

    before = (folder / "forms" / "state.pt").stat().st_mtime_ns
    again = [*command[:3], "finish", *command[4:]]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (folder / "forms" / "state.pt").stat().st_mtime_ns == before  # no work was left
