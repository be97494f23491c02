"""Run the Triton kernels in Triton's interpreter: tests/interpreted in a separate process."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path.stem for path in (ROOT / "tests" / "interpreted").glob("test_*.py"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Map of file name -> test cases, as reported by the interpreter process."""
    pytest.importorskip("triton")
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    command = [sys.executable, "-m", "pytest", "tests/interpreted", "-q", "-n", "0", f"--junitxml={report}"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert report.exists(), done.stdout + done.stderr
    cases = {name: [] for name in FILES}
    for case in ElementTree.parse(report).iter("testcase"):
        cases[case.get("classname").split(".")[-1]].append(case)
    return cases


@pytest.mark.parametrize("name", FILES)
def test_kernels_in_the_interpreter(name, results):
    cases = results[name]
    failed = [
        f"{case.get('name')}\n{trouble.text}"
        for case in cases
        for trouble in (*case.findall("failure"), *case.findall("error"))
    ]
    assert cases and not failed, "\n\n".join(failed)
    assert not [case for case in cases if case.find("skipped") is not None]
    for case in cases:
        for value in case.iter("property"):
            print(case.get("name"), value.get("name"), value.get("value"))
