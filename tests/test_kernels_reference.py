"""Tests of the reference kernels against torch modules, the painter's flow and manual arithmetic."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kernels.ops import (
    conv,
    glu,
    groupnorm,
    layernorm,
    modulate,
    noise,
    paper,
    picture,
    rotary,
)
from models.painter import flow


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_start_is_the_flows_start(layout):
    torch.manual_seed(0)
    sheet = torch.randint(0, 256, (24, 32, 4), dtype=torch.uint8)
    sheet[:8, :, 3], sheet[8:16, :, 3] = 0, 255
    values = noise.normal(4, height=24, width=32)[None]
    out = paper.paper_in(sheet, 0.7, noise=values, memory_format=layout)
    alpha = sheet[..., 3].float()[None, None] / 255
    sketch = (sheet[..., :3].permute(2, 0, 1)[None].float() / 127.5 - 1) * alpha
    condition = flow.Condition(sketch, alpha, torch.tensor([0.7]), torch.zeros(1, 1))
    close(out.start, flow.start(condition, values))
    close(out.sketch, sketch)
    close(out.alpha, alpha)
    assert torch.equal(out.start[:, :, :8], values[:, :, :8])  # blank paper is pure noise
    assert out.start.is_contiguous(memory_format=layout)
    anchored = paper.paper_in(sheet, torch.tensor([0.7]), anchor=noise.anchor(4), memory_format=layout)
    close(anchored.start, out.start, 1e-6)


def test_bytes_survive_the_round_trip():
    """Every uint8 level of opaque paint is recovered after paper_in and picture_out."""
    sheet = torch.full((16, 16, 4), 255, dtype=torch.uint8)
    sheet[..., 0] = torch.arange(256).view(16, 16)
    sheet[..., 1] = 255 - sheet[..., 0]
    out = paper.paper_in(sheet, 0.0, anchor=noise.anchor(1))
    assert torch.equal(picture.picture_out(out.start), sheet[..., :3])
    assert torch.equal(picture.picture_out(out.start.contiguous()), sheet[..., :3])


def test_bytes_are_rounded_and_clamped():
    levels = torch.tensor([-7.0, -1.0, -0.998, -0.997, 0.0, 0.999, 1.0, float("inf")])
    x = levels.repeat(3, 1)[None, :, None]
    assert picture.picture_out(x)[0, :, 0].tolist() == [0, 0, 0, 0, 128, 255, 255, 255]


def test_norms_against_modules():
    torch.manual_seed(0)
    x = torch.randn(2, 12, 5, 7)
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight)
    with torch.no_grad():
        out = groupnorm.group_norm_silu(x, 4, norm.weight, norm.bias)
        close(out, F.silu(norm(x)))
        rows, residual = torch.randn(2, 3, 5, 12).unbind(0)
        layer = nn.LayerNorm(12)
        total, normed = layernorm.add_layer_norm(rows, residual, layer.weight, layer.bias)
        close(total, rows + residual)
        close(normed, layer(rows + residual))
        gate, scale, shift = torch.randn(3, 3, 12)
        for name, function in (("layer", nn.LayerNorm), ("rms", nn.RMSNorm)):
            total, out = modulate.gate_norm_modulate(rows, residual, gate, scale, shift, norm=name)
            expected = rows + gate[:, None] * residual
            close(total, expected)
            plain = function(12, eps=1e-6, elementwise_affine=False)(expected)
            close(out, plain * (1 + scale[:, None]) + shift[:, None])


def test_gates_against_functional():
    x = torch.randn(4, 10)
    value, gate = x.chunk(2, -1)
    close(glu.glu(x, "gelu"), value * F.gelu(gate))
    close(glu.glu(x, "silu", gate_first=True), F.silu(value) * gate)


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotary_turns_pairs_and_keeps_lengths(interleaved):
    torch.manual_seed(0)
    batch, tokens, heads, width = 2, 5, 3, 8
    qkv = torch.randn(batch, tokens, 3, heads, width)
    angles = torch.randn(tokens, width // 2)
    gains = torch.ones(2, width)
    query, key = rotary.norm_rotary(qkv, gains, angles.cos(), angles.sin(), interleaved=interleaved)
    normed = F.rms_norm(qkv, (width,), eps=1e-6)
    for part, out in ((0, query), (1, key)):
        x = normed[:, :, part]
        pairs = x.unflatten(-1, (-1, 2)) if interleaved else x.unflatten(-1, (2, -1)).transpose(-1, -2)
        turned = (
            torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles)[:, None]
        )
        turned = torch.view_as_real(turned)
        close(out, turned.flatten(-2) if interleaved else turned.transpose(-1, -2).flatten(-2))


def test_a_window_of_another_size_is_refused():
    with pytest.raises(ValueError, match="3x3 window"):
        conv.conv3x3(torch.zeros(1, 12, 8, 8), torch.zeros(12, 12, 1, 1))
