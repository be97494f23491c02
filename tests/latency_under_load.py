"""Measure pen-to-picture latency with and without CPU load: `python tests/latency_under_load.py --json`.

Runs `paint --headless --demo lake` alternately without load and beside a busy loop, which is bound to one
core where the system allows it. Prints p50, p95 and p99 of each as medians over the rounds, and the ratio of
the p95. Run it on an idle machine; --cores N binds the painter to the first N cores (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUSY = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {%d})\nwhile True: pass"
QUANTILES = ("p50", "p95", "p99")


def painted(seconds: float, cores: int) -> dict:
    """The report of one headless run."""
    command = [sys.executable, "main.py", "paint", "--headless", "--demo", "lake", "--seconds", str(seconds)]
    if cores and hasattr(os, "sched_setaffinity"):
        bind = f"import os, runpy, sys; os.sched_setaffinity(0, set(range({cores}))); "
        run = (
            "sys.argv = sys.argv[1:]; sys.path.insert(0, '.'); runpy.run_path('main.py', run_name='__main__')"
        )
        command = [sys.executable, "-c", bind + run, *command[1:]]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(rounds: int, seconds: float, cores: int, run=painted) -> dict:
    """Run both conditions interleaved for `rounds`; run(seconds, cores) returns the report of one run."""
    found: dict[str, list[dict]] = {"idle": [], "busy": []}
    for _ in range(rounds):
        for way, runs in found.items():
            other = subprocess.Popen([sys.executable, "-c", BUSY % 0]) if way == "busy" else None
            try:
                runs.append(run(seconds, cores)["input_to_frame_ms"])
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    result: dict = {
        way: {q: round(statistics.median(one[q] for one in runs), 1) for q in QUANTILES}
        for way, runs in found.items()
    }
    result["p95_ratio"] = round(result["busy"]["p95"] / result["idle"]["p95"], 2)
    return result | {"rounds": rounds, "seconds": seconds, "cores": cores or os.cpu_count()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cores", type=int, default=0, help="bind the painter to the first cores; 0: all")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    found = measure(words.rounds, words.seconds, words.cores)
    print(json.dumps(found) if words.json else "\n".join(f"{k}: {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
