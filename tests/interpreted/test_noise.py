"""Noise of the Triton kernel against the reference implementation."""

import pytest
import torch
import triton
import triton.language as tl

from kernels import dispatch, reference
from kernels.ops import noise

SEEDS = (0, 1, -1, 2**63 - 1, 2**63, 0x0123456789ABCDEF, 2**32)


@triton.jit
def words_kernel(out, anchor, block, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    words = noise.philox(tl.load(anchor), i + tl.load(anchor + 1), i * 3 + tl.load(anchor + 2), block)
    for lane in tl.static_range(4):
        tl.store(out + lane * BLOCK + i, words[lane].to(tl.int64))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_integer_stream_is_the_same(seed, device):
    x0, y0, block = 1 << 19, (1 << 20) - 300, 2
    out = torch.empty((4, 64), dtype=torch.int64, device=device)
    words_kernel[(1,)](out, noise.anchor(seed, x0=x0, y0=y0, device=device), block, BLOCK=64)
    i = torch.arange(64)
    counter = (i + x0, i * 3 + y0, torch.full_like(i, block), torch.zeros_like(i))
    assert torch.equal(out.cpu(), torch.stack(reference.philox(seed & (2**64 - 1), counter)))


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_values_agree(seed, device):
    ours = noise.normal(seed, height=23, width=57, channels=5, x0=11, y0=1 << 19, device=device)
    anchor = noise.anchor(seed, x0=11, y0=1 << 19, device=device)
    plain = reference.normal_(torch.empty_like(ours), anchor)
    assert (ours - plain).abs().max() < 1e-6


def test_crops_are_exact(device):
    whole = noise.normal(9, height=40, width=50, channels=4, device=device)
    crop = noise.normal(9, height=13, width=21, channels=3, y0=17, x0=8, device=device)
    assert torch.equal(crop, whole[:3, 17:30, 8:29])


def test_the_trial_launch_finds_that_kernels_run(device):
    where = torch.zeros(1, device=device).device
    assert dispatch.why_no_launch(where) == ""
