"""Tests of the losses of the finish stage on pictures with known faults."""

from __future__ import annotations

import pytest
import torch

from models.painter.flow import Condition
from models.training import feature_network
from models.training.color_painter.critic import Critic, critic_loss
from models.training.color_painter.losses import (
    band_loss,
    feature_loss,
    grid_loss,
    pyramid_loss,
    texture_loss,
    variety_loss,
)


def grain(seed: int, size: float) -> torch.Tensor:
    return 0.3 + size * torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(seed))


def mean_texture_loss(picture, real, calls=12) -> float:
    torch.manual_seed(0)
    return sum(texture_loss(picture, real).item() for _ in range(calls)) / calls


def test_texture_loss_knows_grain_by_its_strength_and_not_by_its_places():
    real = grain(0, 0.1)
    same = mean_texture_loss(grain(1, 0.1), real)
    assert min(mean_texture_loss(grain(1, size), real) for size in (0.06, 0.15)) > 2 * same


@pytest.mark.parametrize("pattern", ["grid", "stripes"])
def test_texture_loss_is_not_met_by_a_pattern_of_the_same_strength(pattern):
    real, fake = grain(0, 0.1), torch.full((2, 3, 80, 80), -1.0)
    fake[..., ::4, :: 4 if pattern == "grid" else 1] = 1
    fake = 0.3 + (fake - fake.mean()) * 0.1 / fake.std()
    assert mean_texture_loss(fake, real) > 3 * mean_texture_loss(grain(1, 0.1), real)


def test_grid_loss_finds_what_keeps_to_the_cells():
    woven, noise = grain(0, 0.1), grain(0, 0.1)
    woven[..., ::4, :] += 0.05
    assert grid_loss(woven) > 3 * grid_loss(noise) > 0


def test_texture_loss_teaches_the_strength_that_is_met_on_average():
    """The optimum is the mean strength; weighting by the real strength would favour the flattest picture."""
    torch.manual_seed(0)
    size = torch.tensor(0.05, requires_grad=True)
    optimizer = torch.optim.Adam([size], 5e-3)
    for step in range(120):
        loss = texture_loss(size * torch.randn(2, 3, 80, 80), grain(step, (0.04, 0.2)[step % 2]) - 0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 0.09 < size.item() < 0.15


def test_pyramid_loss_weighs_levels():
    flat, fine = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    fine[..., ::2] = 0.1
    fine[..., 1::2] = -0.1
    assert pyramid_loss(flat, flat, (1, 1, 1)) == 0
    assert pyramid_loss(fine, flat, (1, 0, 0)) > 10 * pyramid_loss(fine, flat, (0, 1, 1))


def clouds(seed: int, count: int = 4, side: int = 96) -> torch.Tensor:
    """Random pictures of soft blobs of 16 px."""
    small = torch.randn(count, 3, side // 16, side // 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (side, side), mode="bicubic").mul(0.5).clamp(-1, 1)


def test_band_loss_knows_the_strength_of_detail_at_each_level():
    assert band_loss(grain(1, 0.1), grain(0, 0.1)) < 0.01 < 0.1 < band_loss(grain(1, 0.05), grain(0, 0.1))
    soft = torch.nn.functional.avg_pool2d(grain(1, 0.1), 3, 1, 1)
    assert band_loss(soft, grain(0, 0.1)) > 0.1


def test_features_tell_forms_apart_at_every_scale():
    look = feature_network.load()
    real, other, noise = look(clouds(0)), look(clouds(1)), look(torch.randn(4, 3, 96, 96).mul(0.3))
    assert [tuple(x.shape) for x in real] == [
        (4, width, 96 >> scale, 96 >> scale) for scale, width in enumerate(feature_network.CHANNELS, start=1)
    ]
    for a, b, c in zip(real, other, noise, strict=True):
        spread = [x.std((0, 2, 3)) for x in (a, b, c)]
        assert (spread[0] - spread[2]).norm() > 1.5 * (spread[0] - spread[1]).norm()
    assert not any(weight.requires_grad for weight in look.parameters())
    picture = clouds(0).requires_grad_()
    look(picture)[-1].sum().backward()  # gradients reach the picture
    assert picture.grad.abs().mean() > 0


def test_feature_loss_asks_for_form_wherever_it_lies():
    torch.manual_seed(0)
    look, paint = feature_network.load(), torch.zeros(4, 4, 96, 96)
    real = look(clouds(0))
    moved = feature_loss(look(clouds(0).roll(16, -1)), real, paint)
    same, flat = feature_loss(look(clouds(1)), real, paint), feature_loss(look(0 * clouds(0)), real, paint)
    assert moved < 0.5 * flat and same < 0.7 * flat
    left = paint.clone()
    left[..., :48] = 1
    made = torch.where(left[:, :3] > 0, clouds(0), clouds(0) - 0.6)
    mirrored, same = (
        sum(feature_loss(look(made.flip(3) * flip + made * (1 - flip)), look(made), left) for _ in range(3))
        for flip in (1, 0)
    )
    assert same < 1e-3 < 0.1 < mirrored  # the same features overall, but not per paint


def test_variety_loss_is_of_what_two_noises_share():
    one, other = 0.4 * torch.randn(2, 3, 64, 64), 0.4 * torch.randn(2, 3, 64, 64)
    flat = torch.zeros(4, 1, 64, 64)
    condition = Condition(flat.expand(-1, 3, -1, -1), flat, torch.ones(4), torch.zeros(4, 7))
    assert variety_loss(torch.cat((one, one)), condition) > 0.9
    assert variety_loss(torch.cat((one, other)), condition) < 0.1
    assert variety_loss(torch.cat((one, one)), condition._replace(strength=torch.zeros(4))) == 0
    sharp = flat.clone()
    sharp[..., ::8] = 1  # paint edges everywhere: detail along them is no pattern
    assert variety_loss(torch.cat((one, one)), condition._replace(alpha=sharp)) == 0


def test_critic_learns_which_is_real():
    torch.manual_seed(0)
    look, critic, paint = feature_network.load(), Critic(), torch.zeros(4, 4, 96, 96)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    for step in range(12):
        loss = critic_loss(critic(look(clouds(step)), paint), critic(look(clouds(step) * 0.3), paint))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = critic_loss(critic(look(clouds(99)), paint), critic(look(clouds(98) * 0.3), paint))
    assert unseen < 1.6  # 2 for an untrained critic
