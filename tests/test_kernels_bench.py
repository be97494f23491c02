"""Tests of the op benchmark: its report, and no timings for ops that fail their test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import reference
from kernels.testing.cases import CASES
from kernels.tools import bench

ROOT = Path(__file__).parents[1]


def test_report_as_json():
    command = [sys.executable, "-m", "kernels.tools.bench", "--op", "picture_out", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    assert [row["op"] for row in report["rows"]] == ["picture_out"] * len(CASES["picture_out"].served)
    for row in report["rows"]:
        assert row["roofline"] > 0 and row["gbyte_per_s"] > 0
        if not torch.cuda.is_available():
            assert set(row["ms"]) == {"reference"}
    assert ("Triton was not timed" in report["note"]) != torch.cuda.is_available()


def test_every_op_is_right_at_ragged_shapes():
    for case in CASES.values():
        bench.check_ragged(case, "cpu")


def slightly_off(function):
    """Wrap a function so that its first result is wrong: floats by 1 %, uint8 values halved."""

    def off(*args):
        out = function(*args)
        first = out[0] if isinstance(out, tuple) else out
        if first.dtype == torch.uint8:
            first[...] = first // 2
        else:
            first.mul_(1.01)
        return out

    return off


@pytest.mark.parametrize("name", CASES)
def test_broken_ops_are_red(monkeypatch, name):
    """A wrong reference is rejected on a CPU too, because it is checked against independent code."""
    function = CASES[name].op_name
    monkeypatch.setattr(reference, function, slightly_off(getattr(reference, function)))
    with pytest.raises(bench.Red, match=f"{name} .* is wrong"):
        bench.check_ragged(CASES[name], "cpu")


def test_red_ops_are_not_timed(monkeypatch, capsys):
    """No figures are printed, not even for earlier rows."""
    monkeypatch.setattr(reference, "glu", slightly_off(reference.glu))
    monkeypatch.setattr(bench, "peaks", lambda device, dtypes: {"bytes": 1.0, "torch.float16": 1.0})
    monkeypatch.setattr(sys, "argv", ["bench", "--op", "glu", "--json"])
    assert bench.main() == 1
    out, err = capsys.readouterr()
    assert not out
    assert "glu" in err and "is wrong" in err
