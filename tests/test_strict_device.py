"""Strict device mode: it detects faults and accepts what CUDA allows."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from strict_device import DEVICE, DeviceFault, StrictDevice
from torch import Tensor

from kernels.ops.conv import conv3x3

KEPT: list[Tensor] = []


def picture() -> Tensor:
    return torch.empty(1, 4, 8, 8, device=DEVICE)


def weight() -> Tensor:
    return torch.empty(4, 4, 3, 3, device=DEVICE)


def row(size: int = 8) -> Tensor:
    return torch.empty(size, device=DEVICE)


def assign_by_mask(x: Tensor) -> Tensor:
    x[x > 0] = 1.0
    return x


TWO_DEVICES = {
    "a bias": lambda: F.conv2d(picture(), weight(), torch.zeros(4)),
    "a weight": lambda: F.linear(picture(), torch.zeros(3, 8)),
    "a sum": lambda: row() + torch.ones(8),
    "a list": lambda: torch.cat((row(), torch.ones(2))),
    "a norm's gain": lambda: F.group_norm(picture(), 2, torch.ones(4), row(4)),
    "an embedding": lambda: F.embedding(torch.zeros(2, dtype=torch.int64), picture()[0, 0]),
    "an op of ours": lambda: conv3x3(picture(), weight(), torch.zeros(4)),
}


IN_A_GRAPH = {
    "a mask that selects": lambda: row()[row() > 0],
    "a mask that assigns": lambda: assign_by_mask(row()),
    "nonzero": lambda: row().nonzero(),
    "where of one argument": lambda: torch.where(row() > 0)[0],
    "masked_select": lambda: row().masked_select(row() > 0),
    "unique": lambda: row().unique(),
    "repeats by a tensor": lambda: row().repeat_interleave(row().long()),
    "item": lambda: row() * row().sum().item(),
    "a test of values": lambda: row() if row().sum() > 0 else row(2),
    "equal": lambda: row() if torch.equal(row(), row()) else row(2),
    "to the host": lambda: row().cpu().to(DEVICE),
    "from the host": lambda: torch.ones(8).to(DEVICE),
    "a copy from the host": lambda: row().copy_(torch.ones(8)),
    "an index of the host": lambda: row()[torch.tensor([1, 2])],
    "a tensor of values": lambda: torch.tensor([1.0, 2.0], device=DEVICE),
    "as a tensor": lambda: torch.as_tensor([1.0, 2.0], device=DEVICE),
    "a new tensor of values": lambda: row().new_tensor([1.0]),
    "random numbers of the CPU": lambda: row() + torch.randn(()),
    "a generator of the CPU": lambda: row() + torch.randn((), generator=torch.Generator().manual_seed(1)),
    "a synchronisation": lambda: torch.cuda.synchronize() or row(),
    "emptying the cache": lambda: torch.cuda.empty_cache() or row(),
    "memory that is kept": lambda: (KEPT.append(row() * 2), row())[1],
    "memory that a view keeps": lambda: (KEPT.append((row() * 2)[3:5]), row())[1],
}
ALLOWED_IN_A_GRAPH = {
    "a number": lambda: row() * 2.5 + torch.ones(()),
    "an index of the device": lambda: row()[row(3).long()],
    "a slice": lambda: row()[2:4] * row(2),
    "a fill": lambda: torch.full((3,), 2.0, device=DEVICE),
    "one element set": lambda: row().index_fill_(0, row(1).long(), 1.0),
    "where of three arguments": lambda: torch.where(row() > 0, row(), 0.0),
    "random numbers of the device": lambda: torch.randn(3, device=DEVICE),
    "arithmetic of the host": lambda: row() * (torch.tensor([1.0]) * 2).item(),
    "what is let go": lambda: (row() * 2).sum(0, keepdim=True),
    "repeats by a number": lambda: row().repeat_interleave(3),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", TWO_DEVICES)
def test_two_devices_are_refused_everywhere(name, inference):
    with torch.inference_mode(inference), pytest.raises(DeviceFault, match="two devices"), StrictDevice():
        TWO_DEVICES[name]()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", IN_A_GRAPH)
def test_what_breaks_a_capture_is_refused_inside_it_alone(name, inference):
    run = IN_A_GRAPH[name]
    strict = StrictDevice()
    with torch.inference_mode(inference), pytest.raises(DeviceFault), strict, strict.captured() as owned:
        owned.append(run())
    KEPT.clear()
    assert len(strict.faults) == 1
    with torch.inference_mode(inference), StrictDevice():
        try:
            run()
        except NotImplementedError as untold:  # legal, but the output shape is unknown
            assert "depends on values" in str(untold)
    KEPT.clear()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", ALLOWED_IN_A_GRAPH)
def test_what_cuda_allows_passes(name, inference):
    with torch.inference_mode(inference), StrictDevice() as strict, strict.captured() as owned:
        owned.append(ALLOWED_IN_A_GRAPH[name]())
    assert strict.ops


def test_a_fault_that_the_code_catches_is_told_at_the_end():
    caught = contextlib.suppress(RuntimeError)
    with pytest.raises(DeviceFault, match="two devices"), StrictDevice(), caught:
        row() + torch.ones(8)


def test_values_that_come_to_the_host_are_ones():
    with StrictDevice():
        assert (row() > 3).cpu().all() and row().sum().item() == 1.0
        assert torch.zeros(8).copy_(row()).tolist() == [1] * 8


def test_a_float32_convolution_in_tf32():
    with pytest.raises(DeviceFault, match="TF32"), StrictDevice(tf32=False):
        F.conv2d(picture(), weight())
    with StrictDevice(tf32=False), torch.backends.cudnn.flags(allow_tf32=False):
        F.conv2d(picture(), weight())
    with StrictDevice(tf32=False):
        F.conv2d(picture().half(), weight().half())
