"""Tests that run the Triton kernels themselves: natively on a GPU, or with TRITON_INTERPRET=1 on a CPU.

The interpreter is chosen before the kernels are imported, for a whole process. So these are collected only
where they can run; tests/test_kernels_interpreted.py starts a process for them.
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
    """The device whose tensors the kernels take here; Triton is forced, and new tensors hold NaN."""
    before = kernels.use("triton")
    torch.backends.cudnn.allow_tf32 = False  # the reference convolution is held to float32
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty returns
    yield request.param
    torch.use_deterministic_algorithms(False)
    kernels.use(before)
