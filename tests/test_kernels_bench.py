"""The benchmark of the ops: it says what it timed, and nothing of an op whose test is red."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from kernels import bench
from kernels.cases import CASES

ROOT = Path(__file__).parents[1]


def test_report_as_json():
    command = [sys.executable, "-m", "kernels.bench", "--op", "picture_out", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    assert [row["op"] for row in report["rows"]] == ["picture_out"] * len(CASES["picture_out"].served)
    for row in report["rows"]:
        assert row["roofline"] > 0 and row["gbyte_per_s"] > 0
        if not torch.cuda.is_available():
            assert set(row["ms"]) == {"reference"}
    assert ("Triton was not timed" in report["note"]) != torch.cuda.is_available()


def test_red_ops_are_not_timed(monkeypatch, capsys):
    """With a bound that half precision cannot keep, the op's test is red: no figure leaves."""
    monkeypatch.setattr(bench, "BOUNDS", {torch.float16: 0.0, torch.float32: 1e-6})
    monkeypatch.setattr(bench, "peaks", lambda device, dtypes: {"bytes": 1.0, "torch.float32": 1.0})
    monkeypatch.setattr(sys, "argv", ["bench", "--op", "flow_step", "--json"])
    assert bench.main() == 1
    out, err = capsys.readouterr()
    assert not out
    assert "flow_step" in err and "is wrong" in err
