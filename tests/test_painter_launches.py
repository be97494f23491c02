"""The painter's CUDA path on shapes alone: how many ops a frame dispatches."""

from collections import Counter

from models import frames


def test_half_the_launches_of_the_plain_network():
    plain, fused = frames.painter_plain(), frames.painter_fused()
    kinds = Counter(one.name for one in fused)
    assert len(fused) <= len(plain) / 2, (len(fused), len(plain), kinds)
    config = frames.empty_painter().config
    assert kinds["conv3x3"] == 3 + sum(config.blocks)  # two that halve the scale, the chains, the head
    work = sum(one.flops for one in fused) / 1e9
    # more than the network has: the gate rides in a wider window, the sketch is spread by a convolution
    assert 1 <= work / frames.empty_painter().gflop(512, 512) < 1.2


def test_host_arithmetic_is_no_launch():
    assert not [one for one in frames.painter_fused() if one.name == "_local_scalar_dense"]
