"""Tests of replays and other independent jobs on Ray clusters, including dying nodes and workers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict

import av
import numpy as np
import pytest
from loop_harness import ROOT
from ray_cluster import cluster, complain, end_worker, kill, mark, node_options, square, workers
from video_helpers import decoded, planned, silent

from models.api import ModelError
from models.cluster.identity import identity
from models.cluster.tasks import Done, open_cluster
from renderer.actions import InputError
from renderer.files.png import read_about
from renderer.offline import makers
from renderer.offline.cluster import OnCluster
from renderer.offline.segments import PART_FRAMES, produce

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]  # one Ray cluster at a time
ARGUMENTS = ("--size", 256, "--device", "cpu", "--fps", 40, "--hold", 1)
KILLS = int(os.environ.get("FLOWBRUSH_CLUSTER_KILLS", "4"))  # random-kill runs; 20 by hand


@pytest.fixture(scope="module")
def three():
    """Cluster with three rendering nodes."""
    with cluster(3) as made:
        yield made


def test_three_nodes_make_the_bytes_of_one_machine(three, program, strokes, tmp_path):
    one, many = tmp_path / "one.mkv", tmp_path / "many.mkv"
    assert program("replay", strokes, "-o", one, *ARGUMENTS).returncode == 0
    done = program("replay", strokes, "-o", many, *ARGUMENTS, "--ray", three.address)
    assert done.returncode == 0, done.stderr
    assert one.read_bytes() == many.read_bytes()
    assert not (tmp_path / "many.mkv.parts").exists()
    assert "4 nodes" in done.stderr  # including the head


def test_an_interrupted_replay_goes_on_and_a_killed_worker_costs_nothing(three, program, strokes, tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    assert program("replay", strokes, "-o", one, *ARGUMENTS).returncode == 0
    words = ("replay", strokes, "-o", many, *ARGUMENTS, "--ray", three.address)
    parts = tmp_path / "many.parts"
    for _ in range(5):  # all may be done before the interrupt
        if interrupt(words, lambda: (parts / makers.NAME).exists()):
            break
        shutil.rmtree(many, ignore_errors=True)
        shutil.rmtree(parts, ignore_errors=True)
    else:
        pytest.fail("every replay ended before it was interrupted")
    first = makers.read(parts)[0][1][0]  # first frame of the first finished segment
    names = [f"frame-{frame:06}.png" for frame in range(first, min(first + PART_FRAMES, 175))]
    ready = {name: (parts / name).stat().st_mtime_ns for name in names}
    for late in parts.glob("frame-*"):  # all segments may have finished before the interrupt
        if late.name not in ready:
            late.unlink()
    killed = []

    def strike() -> None:
        while not (found := workers()):
            time.sleep(0.02)
        killed.append(found[0].pid)
        kill(found[0])

    striker = threading.Thread(target=strike)
    striker.start()
    done = program(*words)
    striker.join()
    assert done.returncode == 0 and killed and done.stdout == "", done
    assert all((many / name).stat().st_mtime_ns == stamp for name, stamp in ready.items())
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in many.iterdir())
    assert all((one / name).read_bytes() == (many / name).read_bytes() for name in names)


def interrupt(words: tuple, when) -> bool:
    """Run the command until `when()` is true, then send the signal of Ctrl+C; False if it ended before."""
    command = [sys.executable, ROOT / "main.py", *map(str, words)]
    with tempfile.TemporaryFile() as stderr:  # an unread pipe would fill up and block the command
        running = subprocess.Popen(command, stderr=stderr)
        try:
            end_s = time.perf_counter() + 180
            while not when() and running.poll() is None:
                assert time.perf_counter() < end_s
                time.sleep(0.005)
            running.send_signal(signal.SIGINT)
            running.wait(timeout=90)
            stderr.seek(0)
            said = stderr.read().decode()
            assert "Traceback" not in said, said
            return running.returncode != 0
        finally:
            running.kill()


def test_random_kills_lose_and_double_nothing(three):
    dice = random.Random(int.from_bytes(os.urandom(4), "big"))
    nodes = list(three.worker_nodes)
    with open_cluster(three.address) as jobs:
        for turn in range(KILLS):
            wait_s, whole_node = dice.random() * 0.5, turn % 3 == 1
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


def test_a_dead_worker_costs_its_own_job_only(three, tmp_path):
    def strike() -> None:
        while not (found := workers()):
            time.sleep(0.01)
        kill(found[0])

    striker = threading.Thread(target=strike)
    with open_cluster(three.address) as jobs:
        list(jobs.run(square, 0, [1, 2, 3]))  # wait until the workers exist
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


def test_a_node_that_would_make_other_bytes_is_refused(three):
    with open_cluster(three.address, device="cpu", models=("painter",)) as jobs:
        (done,) = jobs.run(square, 0, [3])
        assert done.identity == asdict(identity("cpu", ("painter",)))
        other = done.identity | {"torch": "1.0.0"}
        with pytest.raises(ModelError, match=r"other bytes: torch .* against 1.0.0. .*--any-device"):
            list(jobs.run(square, 0, [3], other))
        jobs.any_device = True
        assert next(jobs.run(square, 0, [3], other)).result == (3, 9)


class TwoKinds:
    """Fake cluster that runs segments in this process and reports two kinds of device in turn."""

    device, deaths, nodes = "cpu", 0, 2

    def __init__(self, any_device: bool):
        self.any_device = any_device

    def run(self, function, shared, jobs, expected=None):
        for number, job in enumerate(jobs):
            yield Done(job, function(shared, job), "127.0.0.1", {"device": f"kind {number % 2}"})


def test_a_film_of_several_kinds_of_device_says_so(strokes, tmp_path):
    film, plain = tmp_path / "o.mkv", tmp_path / "plain.mkv"
    produce(planned(strokes, plain, fps=40), silent)
    produce(planned(strokes, film, fps=40), silent, OnCluster(TwoKinds(any_device=True)))
    assert decoded(film)[0] == decoded(plain)[0]
    assert all(np.array_equal(a, b) for a, b in zip(decoded(film)[1], decoded(plain)[1], strict=True))
    with av.open(str(film)) as file, av.open(str(plain)) as without:
        told = json.loads(file.metadata["COMMENT"])
        assert "COMMENT" not in without.metadata
    assert told == [
        {"device": "kind 0", "segments from frame": [0, 120]},
        {"device": "kind 1", "segments from frame": [60]},
    ]
    produce(planned(strokes, tmp_path / "o", fps=40), silent, OnCluster(TwoKinds(any_device=True)))
    pictures = sorted((tmp_path / "o").iterdir())
    made_on = [read_about(path.read_bytes())["device"]["device"] for path in pictures]
    assert made_on[0] == made_on[59] == "kind 0" and made_on[60] == "kind 1"
    with pytest.raises(InputError, match="--any-device goes with"):
        produce(planned(strokes, tmp_path / "o.gif"), silent, OnCluster(TwoKinds(any_device=True)))


def test_an_address_where_nobody_answers_is_one_line(refused, strokes, tmp_path):
    said = refused("replay", strokes, "-o", tmp_path / "o.mkv", "--ray", "127.0.0.1:9")
    assert "no Ray cluster answers at 127.0.0.1:9" in said
    assert "--any-device goes with --ray" in refused(
        "replay", strokes, "-o", tmp_path / "o.mkv", "--any-device"
    )
