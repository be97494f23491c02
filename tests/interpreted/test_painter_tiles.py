"""Painter frames by the Triton kernels: a tile is bit-identical to that part of the whole frame."""

import pytest
import torch

from models.painter import patches
from models.painter.network import NetworkConfig, PainterNetwork
from models.painter.packed import PackedNetwork


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_tile_is_that_part_of_the_whole_frame(dtype, device, monkeypatch):
    """Uses a small network with a radius of 52 px and a tile at the left border of the paper."""
    torch.manual_seed(0)
    config = NetworkConfig(widths=(16, 16, 16), blocks=(0, 0, 0, 0, 0))
    network = PainterNetwork(config).eval().requires_grad_(False).to(device)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    radius = network.receptive_radius_px()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # use the GPU path
    body = PackedNetwork(network, dtype)
    height, width, (y0, y1, x1) = 64, 192, (0, 64, 128)
    generator = torch.Generator().manual_seed(1)
    planes = torch.randint(0, 256, (4, height, width), dtype=torch.uint8, generator=generator).to(device)
    noise = torch.randn(1, 3, height, width, generator=generator).to(device)
    share, biases = (
        torch.full((1,), 0.4, device=device),
        torch.randn(1, sum(body.widths), generator=generator),
    )
    biases = biases.to(device, dtype)
    whole = body.frame(planes, patches.of_pixels(noise), share, biases)
    tile = body.frame(
        planes[:, y0:y1, :x1].contiguous(), patches.of_pixels(noise[:, :, y0:y1, :x1]), share, biases
    )
    whole, tile = whole[:-1].view(3, height, width), tile[:-1].view(3, y1 - y0, x1)
    right = x1 - radius
    assert right >= 64 and torch.equal(tile[:, :, :right], whole[:, y0:y1, :right])
    assert not torch.equal(tile, whole[:, y0:y1, :x1])  # pixels near the tile's border differ
