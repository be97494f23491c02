"""Test shapes that are no multiple of a block size, with options: (shape, options) for each op."""

from __future__ import annotations

RAGGED = {
    "normal": [((3, 7, 5), {}), ((6, 33, 18), {"seed": -3, "x0": 1048000, "y0": 999}), ((4, 1, 600), {})],
    "paper_in": [((7, 5), {}), ((32, 17), {"given": True}), ((19, 32), {"planar": True})],
    "picture_out": [((7, 5), {}), ((32, 48), {}), ((19, 31), {"planar": True})],
    "group_norm_silu": [
        ((1, 6, 5, 7), {"groups": 3}),
        ((2, 40, 9, 11), {"groups": 4, "silu": False}),
        ((1, 320, 4, 4), {}),
        ((1, 48, 33, 17), {"groups": 8}),
        ((3, 96, 1, 1), {"groups": 32}),
    ],
    "glu": [
        ((3, 5, 14), {}),
        ((17, 600), {"activation": "silu", "gate_first": True}),
        ((2, 64), {"gate_first": True}),
    ],
    "linear_glu": [
        ((5, 7, 3), {}),
        ((67, 96, 80), {"activation": "silu", "gate_first": True, "biased": False}),
        ((1, 130, 33), {"activation": "silu"}),
    ],
    "conv3x3": [
        ((1, 3, 5, 7, 5), {}),
        ((2, 16, 9, 11, 72), {"activation": "silu"}),
        ((1, 70, 6, 5, 4), {"skipped": False, "activation": "none"}),
        ((1, 8, 9, 12, 8), {"stride": 2}),
    ],
    "gate_norm_modulate": [
        ((1, 3, 7), {}),
        ((2, 5, 100), {"norm": "rms", "shifted": False, "wide": True}),
        ((1, 2, 1536), {}),
    ],
    "norm_modulate": [((2, 3, 7), {}), ((1, 5, 320), {"norm": "rms", "wide": True})],
    "norm_rotary": [
        ((1, 3, 2, 12), {"turned": False}),
        ((1, 5, 3, 8), {}),
        ((2, 7, 2, 24), {"interleaved": False}),
        ((1, 9, 4, 128), {}),
        ((1, 3, 1, 40), {}),
    ],
    "add_layer_norm": [((3, 7), {}), ((2, 5, 320), {}), ((9, 100), {})],
}
