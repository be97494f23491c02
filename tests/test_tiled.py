"""Tiles of the painter's GPU path are byte-identical to whole frames; CUDA graphs are a stand-in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.api import Request
from models.painter import painter, tiled
from models.painter.network import PainterNetwork

SIDE = 1024
pytestmark = pytest.mark.slow  # papers large enough for tiles


def stand_in(function, inputs):
    output = function(**inputs)
    return lambda: output.copy_(function(**inputs)), output


def network() -> PainterNetwork:
    torch.manual_seed(3)
    made = PainterNetwork().eval().requires_grad_(False)
    torch.nn.init.normal_(made.head.weight, std=0.05)
    torch.nn.init.normal_(made.gate.weight, std=0.1)
    return made


@pytest.fixture(scope="module")
def models():
    """(whole, tiles): two painters of one network, in the plain torch fallback of a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        made = [painter.Painter(network(), "random", dtype="float32") for _ in range(2)]
    for one in made:
        one.use_graphs(capture=stand_in)
        assert one.body.path == "torch, cpu"
    made[0].tiled.why_off = "a painter of whole frames"
    return made


def same(models, paper: np.ndarray, **options) -> float:
    """Render with both and compare; returns the tile's share of the area."""
    whole, tiles = models
    request = Request(paper, **options)
    np.testing.assert_array_equal(tiles.render(request).picture, whole.render(request).picture)
    return tiles.tiled.share


def test_tiles_give_the_bytes_of_whole_frames(models):
    rng = np.random.default_rng(1)
    paper = np.kron(rng.integers(0, 256, (16, 16, 4)), np.ones((64, 64, 1))).astype(np.uint8)
    assert same(models, paper) == 1.0
    for y, x in ((0, 0), (SIDE - 30, 333), (470, SIDE - 20)):
        paper = paper.copy()
        paper[y : y + 40, x : x + 30] = (*rng.integers(0, 256, 3), rng.choice([0, 255]))
        assert same(models, paper) == (640 / SIDE) ** 2
    while models[1].rest():
        pass
    paper = paper.copy()
    paper[200:220, 800:830] = 255
    assert same(models, paper) == (640 / SIDE) ** 2
    assert models[1].tiled.why_not_faster == ""  # now by a graph, valid at any tile position
    assert same(models, paper.copy()) == 0.0
    paper = paper.copy()
    paper[:, ::7] = 9
    assert same(models, paper) == 1.0  # the whole frame
    assert same(models, paper, strength=0.3) == 1.0
    assert same(models, paper, seed=5) == 1.0
    assert same(models, paper[:256, :512].copy()) == 1.0


def test_two_steps_reach_twice_as_far(models):
    paper = np.full((SIDE, SIDE + 512, 4), 120, np.uint8)
    assert same(models, paper, steps=2) == 1.0
    paper = paper.copy()
    paper[4:20, 4:20] = 255
    assert same(models, paper, steps=2) == 768 * 768 / (SIDE * (SIDE + 512))


def one_painter() -> painter.Painter:
    one = painter.Painter(network(), "random", dtype="float32")
    one.use_graphs(capture=stand_in)
    return one


def test_a_tile_is_checked_at_rest_and_given_up_where_it_differs(monkeypatch):
    """Tiles are checked when idle and disabled if they differ; a too small radius simulates a difference."""
    paper = np.full((SIDE, SIDE, 4), 120, np.uint8)
    for radius_px, words in ((None, "float32 was asked for"), (16, f"{tiled.DIFFERS}; float32")):
        one = one_painter()
        if radius_px is not None:
            one.tiled.radius_px = radius_px
        one.render(Request(paper))
        while one.rest():
            pass
        assert one.card.why_not_faster.startswith(words)
        if radius_px is not None:
            changed = paper.copy()
            changed[500:510, 500:510] = 9
            one.render(Request(changed))
            assert one.tiled.share == 1.0


def test_a_frame_that_failed_is_not_gone_on_from(monkeypatch):
    one, paper = one_painter(), np.full((SIDE, SIDE, 4), 120, np.uint8)
    wanted = one.render(Request(paper)).picture
    changed = paper.copy()
    changed[500:510, 500:510] = 9
    with monkeypatch.context() as broken:
        broken.setattr(one.body, "unpack", lambda out, residual, t: residual * float("nan"))
        with pytest.raises(painter.ModelError, match="not a number"):
            one.render(Request(changed))
    assert np.array_equal(one.render(Request(paper)).picture, wanted) and one.tiled.share == 1.0
