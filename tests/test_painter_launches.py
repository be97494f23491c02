"""The painter's CUDA path on shapes alone: how many ops a frame dispatches."""

from collections import Counter

import numpy as np
import torch

from models.api import Request
from models.benchmarks import frame_cost
from models.painter import painter


def test_half_the_launches_of_the_plain_network():
    plain, fused = frame_cost.painter_plain(), frame_cost.painter_fused()
    kinds = Counter(one.name for one in fused)
    assert len(fused) <= len(plain) / 2, (len(fused), len(plain), kinds)
    config = frame_cost.empty_painter().config
    assert kinds["conv3x3"] == 3 + sum(config.blocks)  # two that halve the scale, the chains, the head
    work = sum(one.flops for one in fused) / 1e9
    # more than the network has: the gate rides in a wider window, the sketch is spread by a convolution
    assert 1 <= work / frame_cost.empty_painter().gflop(512, 512) < 1.2


def test_host_arithmetic_is_no_launch():
    assert not [one for one in frame_cost.painter_fused() if one.name == "_local_scalar_dense"]


def test_a_load_beside_it_changes_no_byte(painter_file, paper):
    """While libraries load another model, the default dtype of the process is that model's."""

    def picture() -> np.ndarray:
        model = painter.load(painter_file, device="cpu", dtype="float32")
        return model.render(Request(paper, steps=2, strength=0.77, prompt="misty")).picture

    wanted = picture()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert np.array_equal(picture(), wanted)
    finally:
        torch.set_default_dtype(torch.float32)
