"""Tests that kernels compile for every GPU generation: no spills, wide loads, shared memory in limits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.dispatch import Launch
from kernels.testing.cases import CASES
from kernels.tools import compile_targets

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_kernel_on_every_generation(tmp_path):
    command = [sys.executable, "-m", "kernels.tools.compile_targets", "--json"]
    environment = {**compile_targets.os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    pytest.importorskip("triton")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
    reports = json.loads(done.stdout)["kernels"]
    assert not [report for report in reports if report["troubles"]]
    assert done.returncode == 0
    assert {report["op"] for report in reports} == set(CASES)
    assert {report["capability"] for report in reports} == {80, 86, 89, 90, 100, 120}
    assert all(report["registers"] and report["ptx"] and report["cubin"] for report in reports)


def test_jobs_are_the_launches_of_the_ops():
    jobs = compile_targets.jobs()
    assert len(jobs) == len(set(jobs))
    served = {(job.op, job.number) for job in jobs}
    assert served >= {(op, 0) for op in CASES} | {("group_norm_silu", 1)}


def test_integers_are_specialised_as_triton_does():
    def kernel(x, one, sixteen, odd, big, number, BLOCK):
        pass

    launch = Launch(kernel, (1,), (torch.empty(1, device="meta"), 1, 32, 7, 1 << 40, 0.5), {"BLOCK": 8})
    signature, constants, attributes = compile_targets.specialised(launch)
    assert signature == {
        "x": "*fp32",
        "one": "constexpr",
        "sixteen": "i32",
        "odd": "i32",
        "big": "i64",
        "number": "fp32",
        "BLOCK": "constexpr",
    }
    assert constants == {"one": 1, "BLOCK": 8}
    assert set(attributes) == {(0,), (2,), (4,)}


@pytest.mark.parametrize(
    ("sass", "bits"),
    [
        ("STG.E.128 [R2], R4", 0),
        ("LDG.E R4, [R2]", 32),
        ("LDG.E.U16.CONSTANT R4 ; LDG.E.64.CONSTANT R8", 64),
        ("LDG.E.64 R4 ; LDGSTS.E.BYPASS.128 [R5]", 128),
        ("LDG.E.128 R4 ; LDG.E.ENL2.256 R8", 256),
    ],
)
def test_widest_loads(sass, bits, monkeypatch):
    """Two 64-byte kernels are disassembled as one text; the first has a 32-bit load."""
    lines = [f"/*{64 + 16 * at:04x}*/  @!P0 {line}" for at, line in enumerate(sass.split(" ; "))]
    text = "\n".join(["/*0030*/  LDG.E R1, [R2]", *lines])
    monkeypatch.setattr(compile_targets, "inspected", lambda *_: text)
    assert compile_targets.widest_loads([bytes(64)] * 2, 90) == [32, bits]


def test_spills_are_seen(monkeypatch):
    line = " Function conv:\n  REG:255 STACK:16 SHARED:512 LOCAL:8 CONSTANT[0]:400 TEXTURE:0"
    monkeypatch.setattr(compile_targets, "inspected", lambda *_: line)
    assert compile_targets.resources(b"") == (255, 24)
