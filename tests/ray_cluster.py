"""Small local Ray clusters of several nodes for tests, on the loopback and always shut down."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from loop_harness import ROOT

from models.cluster.ray_session import LOCAL, import_ray

TOKEN = "0123456789abcdef" * 4  # shared by all clusters: Ray caches the first token that a process reads
os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", TOKEN
STORE_BYTES = 80 << 20  # the minimum that Ray accepts is 75 MB
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # for the workers


def ray_or_skip() -> Any:
    """Import `ray`, configured for local clusters only, or skip the test."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra `ray`")
    return import_ray(LOCAL)


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """Start a cluster with a head that runs no tasks and the given number of nodes with `cpus` each."""
    ray_or_skip()
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node_options()})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=cpus, **node_options())
        yield made
    finally:
        made.shutdown()


def node_options() -> dict:
    return {"object_store_memory": STORE_BYTES, "include_dashboard": False}


def workers(name: str = "ray::perform") -> list[psutil.Process]:
    """Worker processes that currently run a task of these tests."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(name):
                found.append(process)
    return found


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)


# Jobs that run in workers


def square(shared: int, job: int) -> tuple[int, int]:
    """Return (job, job squared plus the shared value) after a short delay."""
    time.sleep(0.15)
    return job, job * job + shared


def mark(folder: str, job: int) -> int:
    """Write a file that marks the job as run, then stay busy for a while."""
    with open(Path(folder) / f"{job}-{os.getpid()}-{time.time_ns()}", "w"):
        time.sleep(0.15)
    return job


def end_worker(shared: None, job: int) -> None:
    os._exit(1)


def complain(shared: None, job: int) -> None:
    raise ValueError(f"job {job} cannot be done")
