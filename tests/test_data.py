"""Tests of the training data: seeded views, visible moods, varied sketches, resumed writes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from models.api import MATERIALS, MOOD_AXES, ModelError
from models.training.data.dataset import Views, shard_path, write
from models.training.data.landscapes.landscape import render
from models.training.data.landscapes.scenes import HELD_OUT, scene
from models.training.data.sketcher import sketch

SIZE_PX = 64


@pytest.fixture(scope="module")
def views():
    return [render(scene(seed), SIZE_PX) for seed in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("views")
    write(made, views=3, seed=7, size_px=SIZE_PX, workers=1)
    return made


def test_same_seed_same_view(views):
    again = render(scene(2), SIZE_PX)
    assert all(np.array_equal(a, b) for a, b in zip(again, views[2], strict=True))
    assert not np.array_equal(views[0][0], views[1][0])


def test_view_ranges(views):
    for picture, labels, mood in views:
        assert picture.shape == (SIZE_PX, SIZE_PX, 3) and picture.dtype == np.uint8
        assert labels.shape == (SIZE_PX, SIZE_PX) and labels.max() < len(MATERIALS)
        assert mood.shape == (len(MOOD_AXES),) and mood.dtype == np.float32
        assert mood.min() >= 0 and mood.max() <= 1
        assert picture.std() > 4


def test_haze_takes_contrast():
    base = scene(3)
    clear, foggy = (render(base._replace(haze=haze), SIZE_PX)[0].astype(float) for haze in (0.0, 1.0))
    assert foggy.std() < 0.9 * clear.std()


def test_night_is_darker_than_noon():
    base = scene(3)
    noon, night = (
        render(base._replace(sun=sun, sun_height=height), SIZE_PX)[0].mean()
        for sun, height in ((1.0, 1.0), (0.0, -0.15))
    )
    assert night < 0.6 * noon


def test_held_out_seeds_are_apart(folder):
    assert HELD_OUT > 10**9  # far more views than a training run uses
    assert not np.array_equal(render(scene(HELD_OUT), SIZE_PX)[0], render(scene(0), SIZE_PX)[0])


def test_sketches_leave_different_parts_blank(views):
    rng = np.random.default_rng(0)
    picture, labels, _ = views[1]
    painted = [(sketch(picture, labels, rng, 0.5)[..., 3] > 0).mean() for _ in range(60)]
    assert min(painted) < 0.3 and max(painted) > 0.95
    assert len({round(share, 2) for share in painted}) > 8


def test_strength_is_distance_from_the_view(views):
    picture, labels, _ = views[1]

    def distance(strength: float) -> float:
        rng, total = np.random.default_rng(1), []
        for _ in range(30):
            paper = sketch(picture, labels, rng, strength)
            inside = paper[..., 3] == 255
            if inside.any():
                total.append(abs(paper[inside][:, :3].mean(0) - picture[inside].mean(0)).mean())
        return float(np.mean(total))

    assert distance(0.0) < 0.5 * distance(1.0)


def test_batch_shapes(folder):
    picture, drawn, mood, strength = Views(folder).batch(np.random.default_rng(0), 5, 32)
    assert picture.shape == (5, 32, 32, 3) and picture.dtype == np.uint8
    assert drawn.shape == (5, 32, 32, 4) and drawn.dtype == np.uint8
    assert mood.shape == (5, len(MOOD_AXES)) and mood.dtype == np.float32
    assert strength.shape == (5,) and strength.min() >= 0 and strength.max() <= 1


def test_lost_shard_is_made_again(folder):
    path = shard_path(folder, 0)
    with np.load(path) as shard:
        before = shard["pictures"]
    path.unlink()
    (folder / ".shard-00000.part").write_bytes(b"cut short")
    write(folder, views=3, seed=7, size_px=SIZE_PX, workers=1)
    with np.load(path) as shard:
        assert np.array_equal(shard["pictures"], before)
    assert not (folder / ".shard-00000.part").exists()


def test_other_recipe_is_refused(folder):
    with pytest.raises(ModelError, match="other data"):
        write(folder, views=3, seed=8, size_px=SIZE_PX, workers=1)


def test_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="train data"):
        Views(tmp_path)
