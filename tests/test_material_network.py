"""Tests of the material network: cost, receptive field, borders, anchored noise, effect of each input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.painter.materials import noise as noises
from models.painter.materials.condition import MaterialCondition, condition_of, heights
from models.painter.materials.flow import MaterialFlow
from models.painter.materials.network import PAINTER, PAINTER_SMALL, MaterialConfig, MaterialNetwork

TINY = MaterialConfig(widths=(32, 32, 32), embedding=16)


def condition(side: int = 64, *, seed: int = 0, origin=(0, 0), paper=None, materials=None, **changed):
    rng = np.random.default_rng(0)
    if paper is None:
        paper = rng.integers(0, 256, (1, side, side, 4), np.uint8)
    if materials is None:
        materials = rng.integers(0, 13, (1, side, side)).astype(np.uint8)
    height, width = paper.shape[1:3]
    given = {
        "strength": torch.full((1,), 0.6),
        "mood": torch.full((1, 7), 0.5),
        "look": torch.zeros(1, dtype=torch.int64),
        "height": heights(height // 4, width // 4, top_px=origin[1], canvas_px=512)[None],
    }
    found = noises.anchored(seed, height, width, origin=origin)
    return condition_of(paper, materials, noise=found, **given | changed)


def made(flow: MaterialFlow, given: MaterialCondition) -> torch.Tensor:
    with torch.no_grad():
        return flow.one_step(given)


@pytest.fixture(scope="module")
def tiny() -> MaterialFlow:
    torch.manual_seed(0)
    return MaterialFlow(TINY).eval()


@pytest.mark.parametrize(("config", "most_gflop"), [(PAINTER, 12.0), (PAINTER_SMALL, 5.0)])
def test_cost_and_reach_are_within_what_was_decided(config, most_gflop):
    network = MaterialNetwork(config)
    assert network.gflop(512, 512) <= most_gflop
    assert network.receptive_radius_px() <= 128
    assert all(width % 32 == 0 for width in config.widths)


@pytest.mark.parametrize("at", [(160, 160), (175, 173), (168, 163)])
def test_reach_by_gradient_is_no_more_than_the_layers_say(at):
    """With positive weights no paths cancel, so the nonzero gradient is exactly the receptive field."""
    torch.manual_seed(1)
    network = MaterialNetwork(TINY)
    for parameter in network.parameters():
        parameter.data.abs_()
    flow, given = MaterialFlow(network), condition(320)
    paint = given.paint.clone().requires_grad_(True)
    means = torch.nn.functional.avg_pool2d(paint, 4)
    given = given._replace(paint=paint, means=means)
    one = torch.ones(1)
    x = flow.predict(flow.start(given).abs(), given, one, one)
    flow.picture(x, given)[0, :, at[0], at[1]].sum().backward()
    assert paint.grad is not None
    rows, columns = paint.grad[0].abs().sum(0).nonzero().T
    reach = max((rows - at[0]).abs().max().item(), (columns - at[1]).abs().max().item())
    assert 0.7 * network.receptive_radius_px() < reach <= network.receptive_radius_px() <= 128


def test_an_edit_changes_nothing_beyond_the_reach(tiny):
    paper = np.full((1, 352, 352, 4), 255, np.uint8)
    edited = paper.copy()
    edited[0, 170:182, 170:182] = (0, 40, 200, 255)
    before, after = (made(tiny, condition(paper=p, materials=p[..., 0] // 32)) for p in (paper, edited))
    rows, columns = (before != after).any(1)[0].nonzero().T
    reach = MaterialNetwork(TINY).receptive_radius_px()
    assert len(rows) and rows.min() >= 170 - reach and rows.max() < 182 + reach
    assert columns.min() >= 170 - reach and columns.max() < 182 + reach


def test_a_crop_with_a_halo_equals_the_crop_of_the_whole(tiny):
    rng = np.random.default_rng(3)
    paper = rng.integers(0, 256, (1, 384, 384, 4), np.uint8)
    materials = rng.integers(0, 13, (1, 384, 384)).astype(np.uint8)
    whole = made(tiny, condition(paper=paper, materials=materials, seed=5))
    halo = 128
    part = made(
        tiny,
        condition(paper=paper[:, 32:, 64:], materials=materials[:, 32:, 64:], seed=5, origin=(64, 32)),
    )
    assert (part[..., halo:, halo:] - whole[..., 32 + halo :, 64 + halo :]).abs().max() < 1 / 255


def test_a_flat_paper_has_no_frame(tiny):
    """With replication padding the border of a constant input equals its centre."""
    paper = np.full((1, 64, 64, 4), 128, np.uint8)
    given = condition(paper=paper, materials=np.full((1, 64, 64), 5, np.uint8))
    still = noises.Noise(given.noise.white * 0, tuple(level * 0 for level in given.noise.levels))
    flat = given._replace(noise=still, height=given.height * 0)
    cells = made(tiny, flat).unflatten(2, (16, 4)).unflatten(4, (16, 4))
    assert (cells - cells[:, :, 8:9, :, 8:9]).abs().max() < 1e-4


def test_noise_is_a_function_of_seed_scale_and_canvas_position():
    whole = noises.anchored(7, 128, 128)
    part = noises.anchored(7, 64, 64, origin=(64, 32))
    assert torch.equal(part.white, whole.white[..., 8:24, 16:32])
    for scale, mine, theirs in zip(noises.SCALES, part.levels, whole.levels, strict=True):
        y, x = 32 // scale, 64 // scale
        assert torch.equal(mine, theirs[..., y : y + 64 // scale, x : x + 64 // scale])
    other = noises.anchored(8, 128, 128)
    assert not any(torch.equal(a, b) for a, b in zip(whole.levels, other.levels, strict=True))


def test_the_start_has_unit_variance_and_a_falling_spectrum():
    start = noises.drawn(8, 256, 256, torch.Generator().manual_seed(0)).start()
    assert start.var().item() == pytest.approx(1, abs=0.05)
    picture = torch.nn.functional.pixel_shuffle(start, 4)
    low = torch.nn.functional.avg_pool2d(picture, 16).var().item()
    assert low > 20 / 16**2  # white noise would leave at most 1 / 256


@pytest.mark.parametrize("name", ["materials", "look", "mood", "height", "strength", "seed"])
def test_each_input_changes_the_picture(tiny, name):
    base = condition()
    other = {
        "materials": lambda: condition(materials=np.zeros((1, 64, 64), np.uint8)),
        "look": lambda: condition(look=torch.ones(1, dtype=torch.int64)),
        "mood": lambda: condition(mood=torch.ones(1, 7)),
        "height": lambda: base._replace(height=base.height + 0.5),
        "strength": lambda: condition(strength=torch.zeros(1)),
        "seed": lambda: condition(seed=1),
    }[name]()
    assert (made(tiny, base) - made(tiny, other)).abs().max() > 1e-3


def test_each_level_of_noise_changes_the_picture(tiny):
    base = condition()
    for index in range(len(noises.SCALES)):
        levels = [level + (index == i) for i, level in enumerate(base.noise.levels)]
        start = tiny.start(base)
        other = base._replace(noise=base.noise._replace(levels=tuple(levels)))
        one = torch.ones(1)
        with torch.no_grad():  # from the same start: only the levels differ
            changed = tiny.predict(start, other, one, one) - tiny.predict(start, base, one, one)
        assert changed.abs().max() > 1e-3


def test_config_goes_through_json():
    import json

    values = json.loads(json.dumps(PAINTER_SMALL.as_dict()))
    assert values["kind"] == "materials" and MaterialConfig.from_dict(values) == PAINTER_SMALL


def test_steps_start_from_the_same_noise_and_stay_finite(tiny):
    pictures = [tiny.sample(condition(), steps) for steps in (1, 2, 4)]
    assert all(picture.isfinite().all() for picture in pictures)
    assert torch.equal(pictures[0], made(tiny, condition()).clamp(-1, 1))


def test_the_teacher_does_not_see_the_levels(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(
        tiny.network,
        "forward",
        lambda residual, given, t, step: (
            seen.append(given.noise.levels),
            MaterialNetwork.forward(tiny.network, residual, given, t, step),
        )[1],
    )
    with torch.no_grad():
        tiny.velocity_loss(torch.zeros(1, 3, 64, 64), condition(), torch.full((1,), 0.5))
    assert len(seen) == 1 and not any(level.any() for level in seen[0])
