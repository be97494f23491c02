"""Tests that run the Triton kernels, natively on a GPU or with TRITON_INTERPRET=1 on a CPU.

The interpreter is chosen for the whole process before the kernels are imported, so these tests are collected
only where they can run; tests/test_kernels_interpreted.py starts a process for them.
"""

import os

import pytest
import torch

import kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
NATIVE = torch.cuda.is_available() and not INTERPRETED
collect_ignore_glob = [] if INTERPRETED or NATIVE else ["test_*.py"]


@pytest.fixture(params=["cpu" if INTERPRETED else pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Device of the kernels' tensors; forces Triton and fills new tensors with NaN."""
    before = kernels.use("triton")
    torch.backends.cudnn.allow_tf32 = False  # keep the reference convolution in float32
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new tensors
    yield request.param
    torch.use_deterministic_algorithms(False)
    kernels.use(before)
