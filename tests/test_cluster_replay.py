"""Replays and other independent jobs on Ray clusters of several nodes, with nodes and workers that die."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import av
import numpy as np
import pytest
from easel import ROOT
from films import decoded
from ray_cluster import cluster, complain, end_worker, kill, mark, node_options, ray_or_skip, square, workers

from models.api import ModelError
from models.cluster.tasks import open_cluster

pytestmark = pytest.mark.slow
ARGUMENTS = ("--size", 256, "--device", "cpu", "--fps", 40, "--hold", 1)
KILLS = int(os.environ.get("FLOWBRUSH_CLUSTER_KILLS", "6"))  # runs of the test of random kills; 20 by hand


@pytest.fixture(scope="module")
def three():
    """A cluster with three nodes that render."""
    with cluster(3) as made:
        yield made


def test_three_nodes_make_the_bytes_of_one_machine(three, program, strokes, tmp_path):
    one, many = tmp_path / "one.mkv", tmp_path / "many.mkv"
    assert program("replay", strokes, "-o", one, *ARGUMENTS).returncode == 0
    done = program("replay", strokes, "-o", many, *ARGUMENTS, "--ray", three.address)
    assert done.returncode == 0, done.stderr
    assert one.read_bytes() == many.read_bytes()
    assert not (tmp_path / "many.mkv.parts").exists()
    assert "4 nodes" in done.stderr  # the head too


def test_a_folder_of_pictures_is_that_of_one_machine_though_a_worker_dies(three, program, strokes, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    assert program("replay", strokes, "-o", one, *ARGUMENTS).returncode == 0
    killed = []

    def strike() -> None:
        while not (found := workers()):
            time.sleep(0.02)
        time.sleep(0.1)
        killed.append(found[0].pid)
        kill(found[0])

    striker = threading.Thread(target=strike)
    striker.start()
    done = program("replay", strokes, "-o", many, *ARGUMENTS, "--ray", three.address)
    striker.join()
    assert done.returncode == 0 and killed, done.stderr
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in many.iterdir())
    assert all((one / name).read_bytes() == (many / name).read_bytes() for name in names)


def test_random_kills_lose_and_double_nothing(three):
    dice = random.Random(int.from_bytes(os.urandom(4), "big"))
    nodes = list(three.worker_nodes)
    with open_cluster(three.address) as jobs:
        for turn in range(KILLS):
            wait_s, whole_node = dice.random() * 0.5, turn % 3 == 0
            victim = dice.choice(nodes)

            def strike(wait_s=wait_s, whole_node=whole_node, victim=victim) -> None:
                time.sleep(wait_s)
                if whole_node:
                    three.remove_node(victim, allow_graceful=False)
                elif found := workers():
                    kill(dice.choice(found))

            striker = threading.Thread(target=strike)
            striker.start()
            done = list(jobs.run(square, turn, list(range(9))))
            striker.join()
            assert sorted(one.job for one in done) == list(range(9))
            assert all(one.result == (one.job, one.job**2 + turn) for one in done)
            if whole_node:
                nodes.remove(victim)
                nodes.append(three.add_node(num_cpus=1, **node_options()))
        assert jobs.nodes == 4


def test_a_dead_worker_costs_its_own_job_only(three, tmp_path):
    def strike() -> None:
        while not (found := workers()):
            time.sleep(0.01)
        kill(found[0])

    striker = threading.Thread(target=strike)
    with open_cluster(three.address) as jobs:
        list(jobs.run(square, 0, [1, 2, 3]))  # the workers are there
        striker.start()
        assert sorted(one.job for one in jobs.run(mark, str(tmp_path), list(range(12)))) == list(range(12))
        striker.join()
        begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
        assert len(begun) <= 12 + jobs.deaths and jobs.deaths <= 1


def test_what_a_job_does_wrong_is_one_line(three):
    with open_cluster(three.address) as jobs:
        with pytest.raises(ModelError, match=r"^ValueError: job 4 cannot be done$"):
            list(jobs.run(complain, None, [4]))
        with pytest.raises(ModelError, match="workers died 5 times on the same part"):
            list(jobs.run(end_worker, None, [4]))


def test_results_of_another_kind_of_device_are_refused(three, program, strokes, tmp_path):
    output = tmp_path / "o.mkv"
    words = ("replay", strokes, "-o", output, *ARGUMENTS, "--ray", three.address)
    parts = tmp_path / "o.mkv.parts"
    stop_after_one(parts, words)
    makers = json.loads((parts / "makers.json").read_text())
    assert len(makers) == 1 and set(makers[0][0]) == {"device", "torch", "weights", "code"}
    makers[0][0]["torch"] = "1.0.0"
    (parts / "makers.json").write_text(json.dumps(makers))
    kept = {path.name: path.read_bytes() for path in parts.glob("part-*")}
    done = program(*words)
    assert done.returncode == 1 and "would make other bytes: torch" in done.stderr and "--any-device" in done.stderr
    assert kept == {path.name: path.read_bytes() for path in parts.glob("part-*")} and not output.exists()

    (parts / "plan.json").write_text(plan_of(words, any_device=True))
    done = program(*words, "--any-device")
    assert done.returncode == 0, done.stderr
    with av.open(str(output)) as film:
        told = json.loads(film.metadata["COMMENT"])
    assert {who["torch"] for who in told} > {"1.0.0"} and len(told) == 2
    assert all(name not in kept or kept[name] for name in kept)


def plan_of(words, **changed) -> str:
    """The note of a replay's parts folder, for these words of the command line with other settings."""
    from films import planned

    settings = {"size": 256, "device": "cpu", "fps": 40.0, "hold": 1.0, "ray": "any", **changed}
    return json.dumps({"flowbrush": planned(words[1], words[3], **settings).fingerprint()})


def stop_after_one(parts, words) -> None:
    """Run the command until a segment is done, then interrupt it as Ctrl+C does."""
    running = subprocess.Popen([sys.executable, ROOT / "main.py", *map(str, words)], stderr=subprocess.PIPE)
    try:
        end_s = time.monotonic() + 60
        while not list(parts.glob("part-*")):
            assert running.poll() is None and time.monotonic() < end_s, running.stderr.read()
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1].decode()
        assert running.returncode != 0 and "Traceback" not in said, said
    finally:
        running.kill()
