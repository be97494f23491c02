"""Every kernel op against float64: dtypes, ragged shapes and options."""

import pytest
import torch

from kernels.testing.cases import BOUNDS, CASES, call, copied, error
from kernels.testing.inputs import maker

ROWS = [(name, shape, options) for name, case in CASES.items() for shape, options in case.ragged]


@pytest.mark.parametrize("dtype", list(BOUNDS), ids=str)
@pytest.mark.parametrize(("name", "shape", "options"), ROWS, ids=str)
def test_near_the_truth(name, shape, options, dtype, device, record_property):
    case = CASES[name]
    arguments = case.inputs(maker(device), shape, dtype, **options)
    truth = case.truth(arguments)
    ours = error(call(case.module.OP, copied(arguments)), truth)
    plain = error(call(case.reference, copied(arguments)), truth)
    record_property("error", f"{ours:.2e} (reference {plain:.2e})")
    print(f"{name} {shape} {dtype}: error {ours:.2e}, of the reference {plain:.2e}")
    assert ours <= BOUNDS[dtype]
    assert plain <= BOUNDS[dtype]


@pytest.mark.parametrize("name", CASES)
def test_one_op_for_the_compiler(name, device):
    """The schema declares mutated arguments; the fake implementation has equal shapes, strides and dtypes."""
    case = CASES[name]
    rows = [case.inputs(maker(device), shape, torch.float32, **o) for shape, o in case.ragged[:2]]
    for arguments in (*rows, tuple(map(cut, rows[0]))):
        torch.library.opcheck(case.module.OP, arguments, test_utils=("test_schema", "test_faketensor"))


def cut(value):
    """Return a tensor of at least 2 dimensions as a slice of a wider one; other values unchanged."""
    if not isinstance(value, torch.Tensor) or value.dim() < 2:
        return value
    whole = torch.zeros_like(torch.nn.functional.pad(value, (0, 3)))
    part = whole[..., : value.shape[-1]]
    return part.copy_(value)


def test_large_mean_survives_group_norm(device):
    """A plain sum of squares has a relative error of 0.1 here; rounding of the mean itself gives 3e-5."""
    case = CASES["group_norm_silu"]
    x, *rest = case.inputs(maker(device), (1, 32, 24, 24), torch.float32, groups=4)
    arguments = (x + 1000, *rest)
    truth = call(case.reference, copied(arguments, double=True))
    assert error(call(case.module.OP, arguments), truth) < 1e-4
