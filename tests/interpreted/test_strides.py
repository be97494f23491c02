"""Kernel inputs with non-contiguous strides: slices, other memory layouts and views."""

import pytest
import torch

from kernels import reference
from kernels.ops import (
    conv,
    glu,
    groupnorm,
    layernorm,
    linear_glu,
    modulate,
    noise,
    paper,
    picture,
    rotary,
)
from kernels.testing.inputs import maker


@pytest.fixture
def make(device):
    return maker(device)


def near(out, truth):
    for value, right in zip(out, truth, strict=True):
        torch.testing.assert_close(value, right, rtol=2e-6, atol=2e-6)


def test_pictures_that_are_not_channels_last(make):
    x, weight = make(2, 8, 5, 6), make(7, 8, 3, 3, scale=0.1)
    skip = make(2, 7, 5, 6)
    near([conv.conv3x3(x, weight, None, skip=skip)], [reference.conv3x3(x, weight, None, skip)])
    wide = make(2, 16, 5, 6)[:, ::2]
    gain, bias = make(8), make(8)
    out = groupnorm.group_norm_silu(wide, 4, gain, bias)
    near([out], [reference.group_norm_silu(wide, 4, gain, bias)])
    assert out.is_contiguous(memory_format=torch.channels_last)
    near([picture.picture_out(x[:1, ::3])], [reference.picture_out(x[:1, ::3])])


def test_rows_of_a_wider_product(make):
    packed = make(2, 6, 100)
    near([glu.glu(packed[..., 3:43], "gelu")], [reference.glu(packed[..., 3:43], "gelu")])
    left, right = packed[..., 1:33], packed[..., 40:72]
    weights = make(32), make(32)
    near(layernorm.add_layer_norm(left, right, *weights), reference.add_layer_norm(left, right, *weights))
    weight = make(10, 32)
    near(
        [linear_glu.linear_glu(left, weight, None, "silu")],
        [reference.linear_glu(left, weight, None, "silu")],
    )
    gate, scale, shift = make(2, 96).chunk(3, 1)
    near(
        modulate.gate_norm_modulate(left, right, gate, scale, shift),
        reference.gate_norm_modulate(left, right, gate, scale, shift, "layer", 1e-6),
    )


def test_heads_apart(make):
    heads_first = make(1, 3, 4, 6, 16).permute(0, 3, 1, 2, 4)  # (B, T, 3, H, D) stored as (B, 3, H, T, D)
    weight, cos, sin = make(2, 16), make(6, 16)[:, ::2], make(6, 16)[:, 1::2]
    near(
        rotary.norm_rotary(heads_first, weight, cos, sin),
        reference.norm_rotary(heads_first, weight, cos, sin, 1e-6, True),
    )


def test_paper_with_given_noise(make):
    sheet = make(9, 14, 4, dtype=torch.uint8)
    values = make(1, 3, 9, 14)
    strength = make(1).fill_(0.3)
    for given in (values, values.contiguous(memory_format=torch.channels_last), values.expand(1, 3, 9, 14)):
        near(
            paper.paper_in(sheet, strength, noise=given),
            reference.paper_in(sheet, 0.3, values, torch.float32),
        )
    out = paper.paper_in(sheet[:, 2:], 0.3, noise=values[..., 2:])
    near(out, [part[..., 2:] for part in reference.paper_in(sheet, 0.3, values, torch.float32)])


def test_noise_into_a_slice(make, device):
    out = torch.zeros(2, 5, 8, 6, device=device)
    target = out[1].permute(0, 2, 1)[:3]
    anchor = noise.anchor(4, x0=3, device=device)
    noise.normal_(target, anchor)
    near([target.contiguous()], [reference.normal_(torch.zeros(3, 6, 8, device=device), anchor)])
    assert not out[0].any() and not out[1, 3:].any()


def test_nothing_to_do(device):
    """Empty inputs launch no kernel and return the right shape."""
    make = maker(device)
    assert glu.glu(make(0, 8), "silu").shape == (0, 4)
    assert picture.picture_out(make(1, 3, 0, 8)).shape == (0, 8, 3)
