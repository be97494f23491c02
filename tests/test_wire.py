"""Wire format between client and served model: exact round trips and one-line refusals."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.api import MATERIALS, ModelError, Rect, Request
from models.cluster import wire


def noisy(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


boxes = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 56), st.integers(1, 56))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), boxes, st.booleans())
def test_a_request_arrives_as_it_was_sent(seed, box, with_materials):
    x, y, wide, high = box
    before, paper = noisy(seed, 256, 256, 5), noisy(seed, 256, 256, 5)[..., :4].copy()
    before[..., 4] = 0
    paper[y : y + high, x : x + wide] += np.uint8(1)
    materials = None
    if with_materials:
        materials = np.zeros((256, 256), np.uint8)
        materials[y, x] = len(MATERIALS)
    request = Request(
        paper, 7, 1, Rect(0, 0, 9, 9), 2, 0.25, 2**63 - 1, "fog 山", (0.5,) * 7, (-5, 9), 1.5, materials
    )
    sent = wire.checked(wire.sent_of(request, 3, 2, before, wire.planes_of(request)).as_dict())
    assert Rect(*sent.rect) == Rect(x, y, x + wide, y + high) and sent.drawing
    arrived = wire.request_of(sent, wire.paper_of(before, sent), Rect(*sent.rect))
    assert np.array_equal(arrived.paper, paper)
    assert (arrived.materials is None) == (materials is None)
    assert materials is None or np.array_equal(arrived.materials, materials)
    for name in (
        "steps",
        "strength",
        "seed",
        "prompt",
        "mood",
        "origin",
        "lora_scale",
        "look",
        "material_prompt",
    ):
        assert getattr(arrived, name) == getattr(request, name)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_a_lossless_patch_arrives_bit_for_bit(seed, high, wide, smooth):
    before, after = noisy(seed, high, wide, 3), noisy(seed + 1, high, wide, 3)
    if smooth:
        after = before + noisy(seed, high, wide, 3) % 5
    data = wire.encoded(before, after, "lossless", 90)
    assert np.array_equal(wire.decoded(before, data, "lossless"), after)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_a_lossy_patch_is_near_and_much_smaller(codec):
    across = np.linspace(0, 255, 128)
    after = np.stack(np.broadcast_arrays(across[:, None], across[None], 90.0), -1).astype(np.uint8)
    data = wire.encoded(np.zeros_like(after), after, codec, 90)
    difference = np.abs(wire.decoded(np.zeros_like(after), data, codec).astype(int) - after)
    assert difference.mean() < 3 and len(data) < after.nbytes / 10


def good() -> dict:
    paper = np.zeros((256, 256, 4), np.uint8)
    paper[10:20, 10:30] = 200
    request = Request(paper, 1, 0, Rect(10, 10, 30, 20))
    return wire.sent_of(request, 1, 0, np.zeros((256, 256, 5), np.uint8), wire.planes_of(request)).as_dict()


class Sly(int):
    """int subclass, which must be refused because it could run arbitrary code."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 0),
        ("number", True),
        ("number", Sly(3)),
        ("base", -1),
        ("size", (255, 256)),
        ("size", (256, 4096)),
        ("size", [256, 256]),
        ("rect", (0, 0, 257, 10)),
        ("rect", (-1, 0, 10, 10)),
        ("rect", (10, 10, 10, 20)),
        ("rect", (0, 0, 0.5, 10)),
        ("patch", bytearray(10)),
        ("patch", bytes(10_000_000)),
        ("drawing", 1),
        ("steps", 0),
        ("steps", 10**9),
        ("strength", float("nan")),
        ("strength", 1.01),
        ("lora_scale", float("inf")),
        ("seed", 2**63),
        ("seed", -1),
        ("prompt", "x" * 2001),
        ("prompt", b"fog"),
        ("mood", (0.5,) * 6),
        ("mood", (0.5,) * 6 + (2.0,)),
        ("mood", (0.5,) * 6 + ("a",)),
        ("origin", (2**31, 0)),
        ("look", "secret"),
        ("look", ["scenic"]),
        ("material_prompt", None),
    ],
)
def test_what_is_out_of_range_is_refused_in_one_line(name, value):
    wire.checked(good())
    with pytest.raises(ModelError) as refused:
        wire.checked(good() | {name: value})
    assert "\n" not in str(refused.value)


def test_missing_and_further_fields_are_refused():
    for fields in ({}, [], good() | {"further": 1}, {k: v for k, v in good().items() if k != "mood"}):
        with pytest.raises(ModelError, match="exactly these fields"):
            wire.checked(fields)


def test_patches_that_do_not_unpack_to_their_rect_are_refused():
    before = np.zeros((256, 256, 5), np.uint8)
    bomb = zlib.compress(bytes(50_000_000), 9)
    for patch in (b"", b"rubbish", zlib.compress(b"short"), bomb[:900], zlib.compress(bytes(1001))):
        sent = wire.checked(good() | {"patch": patch})
        with pytest.raises(ModelError, match="patch"):
            wire.paper_of(before, sent)
    unknown = np.full((10, 20, 5), len(MATERIALS) + 1, np.uint8)
    sent = wire.checked(good() | {"patch": wire.packed(before[10:20, 10:30], unknown)})
    with pytest.raises(ModelError, match="materials must be"):
        wire.paper_of(before, sent)
