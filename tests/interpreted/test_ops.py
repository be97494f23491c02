"""Every op against float64: dtypes, ragged shapes, options."""

import pytest
import torch

from kernels.cases import BOUNDS, CASES, call, copied, error
from kernels.inputs import maker

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
    "flow_step": [((1, 3, 5, 7), {}), ((2, 4, 32, 33), {"given": False}), ((1,), {})],
    "composite_": [
        ((5, 7, 3), {"size": (9, 11), "at": (4, 0), "feather_px": 2}),
        ((33, 47, 4), {"size": (64, 50), "at": (3, 9), "feather_px": 8}),
        ((6, 6, 3), {"size": (6, 6), "at": (0, 0), "feather_px": 4}),
        ((8, 9, 1), {"size": (20, 20), "at": (2, 3), "feather_px": 0}),
    ],
}
ROWS = [(name, shape, options) for name, rows in RAGGED.items() for shape, options in rows]


@pytest.mark.parametrize("dtype", list(BOUNDS), ids=str)
@pytest.mark.parametrize(("name", "shape", "options"), ROWS, ids=str)
def test_near_the_truth(name, shape, options, dtype, device, record_property):
    case = CASES[name]
    arguments = case.inputs(maker(device), shape, dtype, **options)
    truth = call(case.reference, copied(arguments, double=True))
    ours = error(call(case.module.OP, copied(arguments)), truth)
    plain = error(call(case.reference, copied(arguments)), truth)
    record_property("error", f"{ours:.2e} (reference {plain:.2e})")
    print(f"{name} {shape} {dtype}: error {ours:.2e}, of the reference {plain:.2e}")
    assert ours <= BOUNDS[dtype]
    assert plain <= BOUNDS[dtype]


@pytest.mark.parametrize("name", list(RAGGED))
def test_one_op_for_the_compiler(name, device):
    """The schema says what is changed, and the fake implementation has the shapes, strides and dtypes."""
    shape, options = RAGGED[name][0]
    case = CASES[name]
    arguments = case.inputs(maker(device), shape, torch.float32, **options)
    torch.library.opcheck(case.module.OP, arguments, test_utils=("test_schema", "test_faketensor"))


def test_every_op_has_ragged_shapes():
    assert RAGGED.keys() == CASES.keys()


def test_composite_bytes(device):
    for shape, options in RAGGED["composite_"]:
        arguments = CASES["composite_"].inputs(maker(device), shape, torch.uint8, **options)
        truth = call(CASES["composite_"].reference, copied(arguments))
        assert error(call(CASES["composite_"].module.OP, arguments), truth) == 0


def test_large_mean_survives_group_norm(device):
    """The plain sum of squares is off by a tenth here; 3e-5 is the rounding of the mean itself."""
    case = CASES["group_norm_silu"]
    x, *rest = case.inputs(maker(device), (1, 32, 24, 24), torch.float32, groups=4)
    arguments = (x + 1000, *rest)
    truth = call(case.reference, copied(arguments, double=True))
    assert error(call(case.module.OP, arguments), truth) < 1e-4
