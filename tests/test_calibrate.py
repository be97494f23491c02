"""Tests of calibration: targets are the painter's own pictures with more detail and closer to the paint."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.painter.flow import Condition
from models.training.color_painter import calibrate
from models.training.evaluation.metrics import laplacian_pyramid


def condition(alpha: float, color: float = 0.0) -> Condition:
    """Condition of two 64x64 papers, each of one uniform paint."""
    paint = torch.full((2, 3, 64, 64), alpha * color)
    return Condition(paint, torch.full((2, 1, 64, 64), alpha), torch.ones(2), torch.zeros(2, 7))


def rough() -> torch.Tensor:
    return 0.2 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_without_gain_and_paint_the_picture_stays_as_it_is():
    picture = rough()
    torch.testing.assert_close(calibrate.recast(picture, condition(0.0), [1.0] * 3), picture.clamp(-1, 1))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_band_is_added_as_often_as_its_gain_says(level):
    picture, gains = rough(), [1.0] * 3
    gains[level] = 1.1
    more = 0.1 * laplacian_pyramid(picture)[level]
    for _ in range(level):
        more = F.interpolate(more, scale_factor=2, mode="bilinear", align_corners=False)
    made = calibrate.recast(picture, condition(0.0), gains)
    torch.testing.assert_close(made, (picture + more).clamp(-1, 1))


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_colours_go_a_part_of_the_way_to_the_paint_where_it_lies(alpha):
    picture = torch.full((2, 3, 64, 64), 0.5)
    made = calibrate.recast(picture, condition(alpha, -0.5), [1.0] * 3)
    torch.testing.assert_close(made, picture - calibrate.PULL * alpha)


def test_gains_are_of_real_detail_over_the_networks_and_never_weaken():
    batch_of = torch.Generator().manual_seed(2)

    def batch():
        picture = torch.randint(0, 256, (4, 64, 64, 3), generator=batch_of).to(torch.uint8).numpy()
        paper = torch.zeros(4, 64, 64, 4, dtype=torch.uint8).numpy()
        return picture, paper, torch.zeros(4, 7).numpy(), torch.ones(4).numpy()

    def smooth(residual, condition, t, step):
        return 0.01 * residual

    def wild(residual, condition, t, step):
        return 10 * residual

    assert calibrate.detail_gains(smooth, batch, 8) == pytest.approx([calibrate.MOST_GAIN] * 3)
    assert calibrate.detail_gains(wild, batch, 8) == [1.0] * 3
