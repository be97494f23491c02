"""Measure latency and traffic of painting with a served model: `python tests/remote_latency.py`.

Run it on an idle machine. It draws strokes in the real headless loop at 512 px, first with a local model and
then with a model served by another process on this machine, behind a proxy that delays each direction.
`allowed` is the limit of the remote p95: the local p95 plus 1.5 round trips plus 10 ms. Byte counts are per
picture, both directions together, compared with the raw picture.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np  # noqa: E402
from loop_harness import RED, LoopHarness  # noqa: E402
from served_model import ServedModel  # noqa: E402
from slow_link import SlowLink  # noqa: E402

from models import registry  # noqa: E402
from models.cluster import remote  # noqa: E402
from renderer.actions import Begin, End, Extend  # noqa: E402

SIDE = 512
POINT_S = 0.05  # interval between two pen points


def painted(loop: LoopHarness, seconds: float) -> dict[str, float]:
    """Draw circles at the rate of a pen; return input latencies and tick times."""
    loop.ready()
    stats = loop.app.stats
    stats.latency_ms, stats.tick_ms = type(stats.latency_ms)("d"), type(stats.tick_ms)("d")
    frames, began_s, number = stats.model_frames, time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        angle = number / 9
        where = (SIDE / 2 + 150 * np.cos(angle), SIDE / 2 + 150 * np.sin(angle), 0.8)
        loop.do(Begin(RED, where) if number == 0 else Extend((where,)))
        number += 1
        next_s = time.perf_counter() + POINT_S
        while time.perf_counter() < next_s:
            loop.tick()
    loop.do(End())
    loop.tick(30)
    latency = np.percentile(stats.latency_ms, (50, 95))
    return {
        "p50_ms": round(float(latency[0]), 1),
        "p95_ms": round(float(latency[1]), 1),
        "tick_p99_ms": round(float(np.percentile(stats.tick_ms, 99)), 1),
        "pictures": stats.model_frames - frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of painting in each run")
    parser.add_argument("--codec", default="lossless", help="lossless, jpeg or webp")
    asked = parser.parse_args()
    runs = {}
    loop = LoopHarness(registry.loader("painter", "cpu"), side=SIDE)
    runs["local"] = painted(loop, asked.seconds)
    loop.app.close()
    served = ServedModel()
    try:
        for round_trip_ms in (0, 5, 30, 150):
            link = SlowLink(served.port, delay_ms=round_trip_ms / 2)
            loop = LoopHarness(
                remote.loader(f"127.0.0.1:{link.port}", "painter", codec=asked.codec), side=SIDE
            )
            loop.ready()
            before = link.bytes_up + link.bytes_down
            run = painted(loop, asked.seconds)
            used = (link.bytes_up + link.bytes_down - before) / max(1, run["pictures"])
            run["allowed_p95_ms"] = round(runs["local"]["p95_ms"] + 1.5 * round_trip_ms + 10, 1)
            run["bytes_a_picture"] = round(used)
            run["share_of_raw"] = round(used / (SIDE * SIDE * 3), 4)
            runs[f"round trip {round_trip_ms} ms"] = run
            loop.app.close()
            link.close()
    finally:
        served.stop()
    print(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
