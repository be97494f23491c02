"""Number of ops that a painter frame dispatches on its CUDA path, counted from shapes alone."""

from collections import Counter

import numpy as np
import pytest
import torch

from models.api import Request
from models.benchmarks import frame_cost
from models.painter import painter


@pytest.fixture(scope="module")
def frames():
    """Map each frame of the painter's serving code to the ops that it launches."""
    return {name: frame() for name, frame in frame_cost.painter_frames().items()}


def test_half_the_launches_of_the_plain_network(frames):
    plain, served = frames["painter, as it is trained"], frames["painter"]
    kinds = Counter(one.name for one in served)
    assert len(served) <= len(plain) / 2, (len(served), len(plain), kinds)
    network = frame_cost.empty_painter().network
    assert kinds["conv3x3"] == 3 + sum(
        network.config.blocks
    )  # two downsampling convolutions, the chains, the head
    work = sum(one.flops for one in served) / 1e9
    # more than the network alone: the gate uses a wider window, a convolution spreads the sketch
    assert 1 <= work / network.gflop(512, 512) < 1.2


def test_one_upload_and_one_download_a_frame_and_no_host_arithmetic(frames):
    for name in ("painter", "painter, 2048 px, a stroke"):
        copies = [one for one in frames[name] if one.host]
        pixels = copies[-1].bytes / 2
        assert copies[0].bytes / 2 == 4 * (pixels - 1) / 3  # uploads RGBA, downloads RGB and one flag
        assert not [one for one in frames[name] if one.name == "_local_scalar_dense"]


def test_a_stroke_costs_a_tile_on_a_gpu(frames):
    whole, stroke = (frame_cost.Cost.of("", frames[f"painter, 2048 px{end}"]) for end in ("", ", a stroke"))
    assert stroke.gflop < 0.11 * whole.gflop and stroke.launches <= whole.launches + 5
    assert all(stroke.least_ms[gpu] < 0.15 * whole.least_ms[gpu] for gpu in frame_cost.PEAKS)
    steps = frame_cost.Cost.of("", frames["painter, 4 steps"])
    assert steps.gflop > 3.9 * frame_cost.Cost.of("", frames["painter"]).gflop - 1


def test_a_name_that_is_not_counted(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["frame_cost", "mona-lisa"])
    assert frame_cost.main() == 1
    assert capsys.readouterr().err.startswith("flowbrush: error: no frame of 'mona-lisa' is counted; choose ")


def test_a_load_beside_it_changes_no_byte(painter_file, paper):
    """Loading another model changes the default dtype of the process; the painter must not depend on it."""

    def picture() -> np.ndarray:
        model = painter.load(painter_file, device="cpu", dtype="float32")
        return model.render(Request(paper, steps=2, strength=0.77, prompt="misty")).picture

    wanted = picture()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert np.array_equal(picture(), wanted)
    finally:
        torch.set_default_dtype(torch.float32)
