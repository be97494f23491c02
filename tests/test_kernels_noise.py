"""Tests of the reference's anchored noise: known answers, anchoring, statistics."""

import pytest
import torch

from kernels import reference
from kernels.ops import noise

# counter, key and result of Philox4x32-10 as published with Random123 (kat_vectors)
KNOWN = (
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter, key, expected):
    words = reference.philox(key, [torch.tensor([word]) for word in counter])
    assert tuple(int(word) for word in words) == expected


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 16])
def test_any_crop_is_the_crop_of_the_whole(channels):
    whole = noise.normal(3, height=130, width=140, channels=channels)
    for y0, x0, height, width in ((0, 0, 1, 1), (64, 3, 66, 137), (129, 139, 1, 1), (17, 40, 32, 100)):
        crop = noise.normal(3, height=height, width=width, channels=channels, y0=y0, x0=x0)
        assert torch.equal(crop, whole[:, y0 : y0 + height, x0 : x0 + width])


def test_channels_do_not_depend_on_their_number():
    assert torch.equal(noise.normal(3, height=9, width=9), noise.normal(3, height=9, width=9, channels=7)[:3])


def test_tall_pictures_are_made_in_bands():
    whole = noise.normal(1, height=1100, width=300, channels=1)
    assert torch.equal(whole[:, 1000:], noise.normal(1, height=100, width=300, channels=1, y0=1000))


def test_moments_and_correlation():
    """The bounds are five standard errors of each estimate."""
    x = noise.normal(12345, height=512, width=512, channels=4).double()
    count = x[0].numel()
    assert (x.mean((1, 2)).abs() < 5 / count**0.5).all()
    assert ((x.var((1, 2)) - 1).abs() < 5 * (2 / count) ** 0.5).all()
    assert ((x**3).mean((1, 2)).abs() < 5 * (15 / count) ** 0.5).all()
    assert (((x**4).mean((1, 2)) - 3).abs() < 5 * (96 / count) ** 0.5).all()
    pairs = [(x[:, :, 1:], x[:, :, :-1]), (x[:, 1:], x[:, :-1]), (x[1:], x[:-1]), (x[:2], x[2:])]
    other = noise.normal(12346, height=512, width=512, channels=4).double()
    pairs += [(x, other), (x[:, 1:, 1:], x[:, :-1, :-1])]
    for a, b in pairs:
        assert abs((a * b).mean()) < 5 / a.numel() ** 0.5
    upper = torch.triu(torch.ones(512, 512, dtype=torch.bool), 1)
    a, b = x[:, upper], x.transpose(1, 2)[:, upper]
    assert abs((a * b).mean()) < 5 / a.numel() ** 0.5


def test_seeds_have_64_bits():
    def of(seed):
        return noise.normal(seed, height=4, width=4)

    seen = [of(seed) for seed in (0, 1, 2**31, 2**32, 2**33 + 1, 2**63, 2**64 - 1)]
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert not torch.equal(a, b)
    assert torch.equal(of(-1), of(2**64 - 1))
    assert torch.equal(of(2**64 + 5), of(5))


def test_positions_reach_two_to_the_twenty():
    end = noise.MAX_POSITION
    corner = noise.normal(2, height=4, width=4, x0=end - 4, y0=end - 4)
    assert corner.isfinite().all()
    assert torch.equal(corner[:, 1:], noise.normal(2, height=3, width=4, x0=end - 4, y0=end - 3))
    for bad in ({"x0": -1}, {"y0": -1}, {"x0": end - 3}, {"y0": end + 1}):
        with pytest.raises(ValueError, match=r"anchored at|ends at"):
            noise.normal(2, height=4, width=4, **bad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_round_the_same_values(dtype):
    exact = noise.normal(8, height=20, width=20, dtype=torch.float64)
    assert torch.equal(noise.normal(8, height=20, width=20, dtype=dtype), exact.to(dtype))
