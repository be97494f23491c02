"""Measure how a replay scales with Ray nodes: `python tests/cluster_scaling.py`.

Run it on an idle machine with at least one core per node. It replays one log in this process and on local
clusters of one, two and three nodes of one core each, and checks that all output files are identical bytes.
Prints seconds, frames per second, and the time Ray needs to start and to join its nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
os.environ["SDL_VIDEODRIVER"] = "dummy"

import functools  # noqa: E402

from loop_harness import ROOT  # noqa: E402
from ray_cluster import cluster  # noqa: E402

from models import registry  # noqa: E402
from models.cluster.tasks import open_cluster  # noqa: E402
from renderer.cli.settings import Replay  # noqa: E402
from renderer.offline import segments  # noqa: E402
from renderer.offline.cluster import OnCluster  # noqa: E402
from renderer.offline.replay import plan  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--nodes", type=int, default=3, help="the most")
    asked = parser.parse_args()
    load = functools.partial(registry.loader, device="cpu")
    joining = []
    join = segments.join

    def timed_join(*words) -> None:
        began_s = time.perf_counter()
        join(*words)
        joining.append(time.perf_counter() - began_s)

    segments.join = timed_join
    with tempfile.TemporaryDirectory() as folder:

        def replay(name: str, elsewhere=None) -> tuple[dict, bytes]:
            output = Path(folder) / f"{name}.mkv"
            settings = Replay(ROOT / "assets/sessions/lake.jsonl", output, size=asked.size, fps=asked.fps)
            made = plan(settings, tuple(registry.ENTRIES), load)[0]
            began_s = time.perf_counter()
            segments.produce(made, lambda count: None, elsewhere)
            took_s = time.perf_counter() - began_s
            figures = {"seconds": round(took_s, 1), "fps": round(made.frames / took_s, 1)}
            return figures | {"join_s": round(joining[-1], 2), "frames": made.frames}, output.read_bytes()

        os.environ["OMP_NUM_THREADS"] = "1"
        runs, first = {}, None
        runs["here"], first = replay("here")
        for count in range(1, asked.nodes + 1):
            began_s = time.perf_counter()
            with (
                cluster(count) as nodes,
                open_cluster(nodes.address, device="cpu", models=("painter",)) as jobs,
            ):
                start_s = time.perf_counter() - began_s
                figures, made = replay(f"on-{count}", OnCluster(jobs))
                assert made == first, "the bytes are not those of one machine"
                runs[f"{count} nodes"] = figures | {"start_s": round(start_s, 1)}
    print(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
