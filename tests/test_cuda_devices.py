"""Tests of the choice of CUDA device and precision on simulated machines."""

from __future__ import annotations

import pytest
import torch

from models.api import ModelError
from models.device import precision
from models.device.cuda import check_device
from models.painter import painter
from models.painter.network import NetworkConfig, PainterNetwork

TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040).\nPlease update your GPU driver."


def looks_like(
    monkeypatch, *, cards: int = 0, build: str | None = None, problem: str = "", capability=(8, 9)
):
    """Patch torch to look like a machine with the given CUDA cards."""

    def init():
        if problem:
            raise RuntimeError(problem)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(
    ("machine", "device", "words"),
    [
        ({}, "cuda", "without CUDA: install"),
        (
            {"build": "12.8", "problem": TOO_OLD},
            "cuda",
            "driver on your system is too old (found version 11040)",
        ),
        ({"build": "12.8", "problem": TOO_OLD}, "cuda", "built for CUDA 12.8"),
        (
            {"build": "12.8", "problem": "Found no NVIDIA driver on your system."},
            "cuda:0",
            "Found no NVIDIA driver",
        ),
        ({"build": "12.8"}, "cuda", "finds no device"),
        ({"build": "12.8", "cards": 1}, "cuda:7", "there is no cuda:7 here, there is cuda:0 alone"),
        ({"build": "12.8", "cards": 3}, "cuda:3", "there is cuda:0 to cuda:2"),
        ({"build": "12.8", "cards": 1}, "cuda:x", "no device is named 'cuda:x'; choose cpu, cuda or cuda:N"),
        ({"build": "12.8", "cards": 1}, "tpu", "no device is named 'tpu'"),
        ({"build": "12.8", "cards": 1}, "mps", "no device is named 'mps'"),
    ],
)
def test_a_device_that_is_not_here_is_refused_in_one_line(monkeypatch, machine, device, words):
    looks_like(monkeypatch, **machine)
    with pytest.raises(ModelError) as error:
        check_device(device)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_here_passes(monkeypatch, device):
    looks_like(monkeypatch, cards=2, build="12.8")
    check_device(device)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((6, 1), torch.float32),
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((8, 9), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ],
)
def test_cards_before_sm_80_never_get_bfloat16(monkeypatch, capability, dtype):
    looks_like(monkeypatch, cards=1, capability=capability)
    assert precision.fast_dtype("cuda") == dtype
    assert precision.has_bf16("cuda:0") == (dtype == torch.bfloat16)
    network = PainterNetwork(NetworkConfig(widths=(16, 32, 32))).eval().requires_grad_(False)
    body, _ = painter.choose_body(network, torch.device("cuda"), None)
    assert body.dtype == dtype
    if dtype != torch.bfloat16:
        with pytest.raises(ModelError, match="cuda has no bfloat16; leave --dtype out"):
            painter.choose_body(network, torch.device("cuda"), "bfloat16")
