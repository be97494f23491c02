"""Test a few of the kills that `kill_while_recording.py` runs by the hundred."""

from __future__ import annotations

import sys

import pytest
from kill_while_recording import SUFFIXES, StoodStill, kill_one


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform == "win32", reason="the log of a killed painting stays locked for a while there"
)
@pytest.mark.parametrize("after_s", [0.4, 1.3, 2.2])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_kill_costs_at_most_a_second_of_film_and_no_event(tmp_path, after_s, suffix):
    try:
        found = kill_one(after_s, suffix, tmp_path)
    except StoodStill:
        pytest.skip("the machine stood still")
    assert found["lost_s"] <= 1.0 and found["events"] >= found["told"]
