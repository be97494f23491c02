"""Change detection in noisy sources, the extent of flattening, and blending of source and strokes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.api import MATERIALS, NOTHING, Rect
from renderer.canvas.materials import from_colors
from renderer.sources.blend import Blend, Painted
from renderer.sources.changes import ChangeDetector
from renderer.sources.flatten import flatten, flatten_part

SIDE = 256
WHOLE = Rect(0, 0, SIDE, SIDE)


def scene(side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8: soft shapes of several brightnesses."""
    random = np.random.default_rng(3)
    rough = cv2.resize(random.integers(20, 230, (8, 8, 3)).astype(np.uint8), (side, side))
    return cv2.GaussianBlur(rough, (0, 0), 4)


def noisy(picture: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    return np.clip(np.rint(picture + random.normal(0, sigma, picture.shape)), 0, 255).astype(np.uint8)


def settled(sigma: float, random: np.random.Generator) -> ChangeDetector:
    detector = ChangeDetector(SIDE, SIDE)
    for _ in range(12):
        detector.update(noisy(scene(), sigma, random))
    return detector


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0, 6.0])
def test_a_still_noisy_source_gives_a_still_picture(sigma):
    random = np.random.default_rng(1)
    detector = settled(sigma, random)
    before = detector.still.copy()
    area = 0
    for _ in range(25):
        box = detector.update(noisy(scene(), sigma, random))
        area += box.width * box.height
    assert area < 0.02 * 25 * SIDE**2
    assert (detector.still == before).all(-1).mean() > 0.995
    assert detector.noise_levels == pytest.approx(sigma, abs=1.0)


@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_a_small_faint_thing_that_moves_is_seen_where_it_is(sigma):
    random = np.random.default_rng(2)
    detector = settled(sigma, random)
    picture = scene()
    picture[100:108, 60:90] = np.clip(picture[100:108, 60:90].astype(int) + 30, 0, 255)
    box = detector.update(noisy(picture, sigma, random))
    assert box.x0 <= 60 and box.x1 >= 90 and box.y0 <= 100 and box.y1 >= 108
    assert box.width < 60 and box.height < 40
    assert np.abs(detector.still[102:106, 62:88].astype(int) - picture[102:106, 62:88]).mean() < 3 + sigma


def test_a_single_bright_pixel_is_seen():
    detector = settled(0.0, np.random.default_rng(0))
    picture = scene()
    picture[77, 33] = 255 - picture[77, 33] // 2
    picture[77, 33, 0] = (int(picture[77, 33, 0]) + 128) % 256
    assert Rect(33, 77, 34, 78).intersect(detector.update(picture)) == Rect(33, 77, 34, 78)


def test_a_slow_fade_and_a_pan_are_followed():
    """A fade of half a level per frame never exceeds the noise between two frames, but accumulates."""
    detector = ChangeDetector(SIDE, SIDE)
    for step in range(60):
        faded = np.clip(scene() * (1 - step / 120), 0, 255).astype(np.uint8)
        detector.update(faded)
    assert np.abs(detector.still.astype(int) - faded).mean() < 3
    for step in range(30):
        moved = np.roll(scene(), 5 * step, 1)
        detector.update(moved)
    assert np.abs(detector.still.astype(int) - moved).mean() < 4


def test_what_did_not_change_keeps_its_bits():
    random = np.random.default_rng(5)
    detector = settled(2.0, random)
    before = detector.still.copy()
    picture = scene()
    picture[30:60, 30:60] = 255 - picture[30:60, 30:60]
    box = detector.update(noisy(picture, 2.0, random))
    outside = np.ones((SIDE, SIDE), bool)
    outside[box.slices] = False
    assert (detector.still[outside] == before[outside]).all()
    assert detector.update(detector.still.copy()) == NOTHING


# Flat colours


@given(
    x=st.integers(0, SIDE - 1), y=st.integers(0, SIDE - 1), wide=st.integers(1, 90), high=st.integers(1, 90),
    mode=st.sampled_from(["colors", "materials"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_part_is_flattened_as_in_the_whole_and_reaches_no_further(x, y, wide, high, mode):
    box = Rect(x, y, x + wide, y + high).intersect(WHOLE)
    (before, _), picture = flatten(scene(), mode), scene()
    picture[box.slices] = 255 - picture[box.slices]
    whole, labels = flatten(picture, mode)
    part, materials, where = flatten_part(picture, box, mode)
    assert (part == whole[where.slices]).all()
    assert labels is None or (materials == labels[where.slices]).all()
    outside = np.ones((SIDE, SIDE), bool)
    outside[where.slices] = False
    assert (whole[outside] == before[outside]).all()


def test_materials_are_the_palettes_own_colours_and_few_specks_are_left():
    random = np.random.default_rng(0)
    named = {material.name: material.color for material in MATERIALS}
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:100], picture[100:170], picture[170:] = named["sky"], named["forest"], named["water"]
    flat, materials = flatten(noisy(picture, 12, random), "materials")
    assert (materials == from_colors(np.dstack((flat, np.full((SIDE, SIDE), 255, np.uint8))))).all()
    assert {tuple(color) for color in flat.reshape(-1, 3)} <= set(named.values())
    assert (flat[4:96] == named["sky"]).all(-1).mean() > 0.97
    assert (flat[104:166] == named["forest"]).all(-1).mean() > 0.97
    assert (flat[174:252] == named["water"]).all(-1).mean() > 0.97


def test_flat_colours_are_few_and_near():
    flat, materials = flatten(scene(), "colors")
    assert materials is None
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) < 150
    assert np.abs(flat.astype(int) - scene()).mean() < 14


# Source and strokes


def strokes() -> np.ndarray:
    made = np.zeros((SIDE, SIDE, 4), np.uint8)
    cv2.circle(made, (128, 128), 60, (200, 30, 30, 255), -1)
    made[..., 3] = cv2.GaussianBlur(made[..., 3], (0, 0), 8)
    made[made[..., 3] == 0] = 0
    made[made[..., 3] > 0, :3] = (200, 30, 30)
    return made


def exact(
    paint: np.ndarray, source: np.ndarray, opacity: float, over: bool, cover: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Porter-Duff `over` in float64: (colour, alpha)."""
    a, b = paint[..., 3:] / 255, np.full((SIDE, SIDE, 1), opacity)
    if cover is not None:
        b = b * (cover[..., None] / 255)
    top, below = (b, a) if over else (a, b)
    upper, lower = (source, paint[..., :3]) if over else (paint[..., :3], source)
    alpha = top + below * (1 - top)
    color = (upper * top + lower * below * (1 - top)) / np.maximum(alpha, 1e-9)
    return color, alpha[..., 0] * 255


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("covered", [False, True])
def test_a_source_lies_over_or_under_the_strokes(over, opacity, covered):
    cover = None
    if covered:
        cover = np.zeros((SIDE, SIDE), np.uint8)
        cover[:, 40:200] = np.linspace(0, 255, 160).astype(np.uint8)
    blend, paint, source = Blend(SIDE, SIDE), strokes(), scene()
    untouched = paint.copy()
    blend.weigh(paint, WHOLE, opacity=opacity, over=over, cover=cover)
    blend.compose(Painted(paint), Painted(source), WHOLE)
    color, alpha = exact(paint, source, opacity, over, cover)
    assert np.abs(blend.pixels[..., 3] - alpha).max() <= 0.5 + 1e-6
    seen = alpha > 8
    assert not seen.any() or np.abs(blend.pixels[..., :3] - color)[seen].max() <= 2
    assert (paint == untouched).all()
    assert not blend.pixels[blend.pixels[..., 3] == 0].any()


def test_where_nothing_is_painted_the_source_is_exact_and_solid_paint_is_too():
    blend, paint, source = Blend(SIDE, SIDE), strokes(), scene()
    blend.weigh(paint, WHOLE, opacity=1.0, over=False)
    blend.compose(Painted(paint), Painted(source), WHOLE)
    bare, solid = paint[..., 3] == 0, paint[..., 3] == 255
    assert (blend.pixels[bare][:, :3] == source[bare]).all()
    assert (blend.pixels[solid] == paint[solid]).all()


def test_a_part_is_worked_out_as_in_the_whole():
    paint, source = strokes(), scene()
    whole, parts = Blend(SIDE, SIDE), Blend(SIDE, SIDE)
    for box in (Rect(0, 0, 100, 256), Rect(100, 0, 256, 90), Rect(100, 90, 256, 256)):
        parts.weigh(paint, box, opacity=0.7, over=False)
        parts.compose(Painted(paint), Painted(source), box)
    whole.weigh(paint, WHOLE, opacity=0.7, over=False)
    whole.compose(Painted(paint), Painted(source), WHOLE)
    assert (parts.pixels == whole.pixels).all()


def test_materials_are_those_of_whatever_gives_most_of_the_colour():
    blend, paint, source = Blend(SIDE, SIDE), strokes(), scene()
    labels = np.where(paint[..., 3] > 0, 9, 0).astype(np.uint8)
    below = np.full((SIDE, SIDE), 3, np.uint8)
    blend.weigh(paint, WHOLE, opacity=1.0, over=False)
    blend.compose(Painted(paint, labels), Painted(source, below), WHOLE)
    assert (blend.materials[paint[..., 3] > 140] == 9).all()
    assert (blend.materials[paint[..., 3] < 110] == 3).all()
    blend.compose(Painted(paint, labels), Painted(source), WHOLE)
    assert set(np.unique(blend.materials)) == {0, 9}
