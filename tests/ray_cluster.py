"""Ray clusters of several nodes on this machine for tests: small, on the loopback, and always stopped."""

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

TOKEN = "0123456789abcdef" * 4  # one for all: Ray keeps the first that it reads in a process
os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", TOKEN
STORE_BYTES = 80 << 20  # Ray takes no less than 75 MB
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # of the workers


def ray_or_skip() -> Any:
    """The module `ray`, set up for clusters of this machine alone."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra `ray`")
    return import_ray(LOCAL)


@contextlib.contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """A cluster with a head that runs nothing and so many nodes of `cpus` each."""
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
    """Processes that run a task of ours now."""
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
    """(job, its square plus what is shared), a moment later."""
    time.sleep(0.15)
    return job, job * job + shared


def mark(folder: str, job: int) -> int:
    """Leave a file that says the job ran, and run for a while."""
    with open(Path(folder) / f"{job}-{os.getpid()}-{time.time_ns()}", "w"):
        time.sleep(0.15)
    return job


def end_worker(shared: None, job: int) -> None:
    os._exit(1)


def complain(shared: None, job: int) -> None:
    raise ValueError(f"job {job} cannot be done")
