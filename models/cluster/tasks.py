"""Run independent jobs on a Ray cluster.

As many jobs run at a time as the cluster has room for; a job is repeated if its worker or node dies.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.api import ModelError
from models.cluster.identity import Identity, identity
from models.cluster.ray_session import connected

AHEAD = 2  # jobs submitted per running job, so that a free worker finds the next one queued
DEATHS = 5  # worker deaths in one job after which the job fails
POLL_S = 0.5  # interval for checking interrupts and the cluster's size


@dataclass(frozen=True)
class Done:
    """Result of a job. node: where it ran. identity: of the process that ran it, as a dict."""

    job: Any
    result: Any
    node: str
    identity: dict[str, str]


class Cluster:
    """A connection to Ray on which jobs run. Created by `open_cluster`."""

    def __init__(self, ray: Any, device: str | None, models: tuple[str, ...] | None, any_device: bool):
        """device: cpu, cuda, or None for CUDA if the cluster has GPUs.

        models: None for jobs whose bytes do not depend on the device, so that workers need not import torch.
        """
        self.ray, self.models, self.any_device = ray, models, any_device
        self.device = device or ("cuda" if ray.cluster_resources().get("GPU", 0) else "cpu")
        self.deaths = 0

    @property
    def gpus(self) -> int:
        return int(self.device.split(":")[0] == "cuda")

    @property
    def room(self) -> int:
        """Return the number of jobs that can run concurrently on the current nodes."""
        return max(1, int(self.ray.cluster_resources().get("GPU" if self.gpus else "CPU", 1)))

    @property
    def nodes(self) -> int:
        return sum(node["Alive"] for node in self.ray.nodes())

    def run(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Sequence, expected: dict | None = None
    ) -> Iterator[Done]:
        """Yield `function(shared, job)` for every job, in order of completion.

        function: defined in a module that every node can import. expected: identity required of all results;
        that of the first result by default. Raises ModelError for a node of another identity unless
        any_device, for a job that keeps killing its workers, and for an error in the function.
        """
        ray = self.ray
        from ray.exceptions import RayError, RayTaskError

        needs = {"num_gpus": 1, "num_cpus": 0} if self.gpus else {"num_cpus": 1}
        task = ray.remote(max_retries=0, **needs)(perform)
        common = ray.put((function, shared, self.device, self.models))
        waiting, running, deaths = deque(jobs), {}, {}
        wanted = None if self.any_device else expected
        try:
            while waiting or running:
                while waiting and len(running) < AHEAD * self.room:
                    job = waiting.popleft()
                    running[task.remote(common, job, wanted)] = job
                ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
                for reference in ready:
                    job = running.pop(reference)
                    try:
                        found, node, result = ray.get(reference)
                    except RayTaskError as error:
                        raise ModelError(told(error)) from error
                    except RayError as error:  # the worker or its node died or ran out of memory
                        self.deaths += 1
                        deaths[job] = deaths.get(job, 0) + 1
                        if deaths[job] >= DEATHS:
                            raise ModelError(
                                f"workers died {DEATHS} times on the same part, {type(error).__name__}; "
                                "the same command goes on where it stopped"
                            ) from error
                        waiting.appendleft(job)
                        continue
                    if wanted is None and not self.any_device:
                        wanted = found
                    if wanted is not None and found != wanted:
                        different = "; ".join(Identity(**found).differences(Identity(**wanted)))
                        raise ModelError(
                            f"node {node} would make other bytes: {different}. "
                            "Make the nodes alike, or allow it with --any-device"
                        )
                    yield Done(job, result, node, found)
        finally:
            for reference in running:
                with contextlib.suppress(Exception):  # the connection itself may be lost
                    ray.cancel(reference, force=True)


def perform(common: tuple, job: Any, expected: dict | None) -> tuple[dict, str, Any]:
    """In a worker: return (identity, node address, result); no result if another identity is expected."""
    import ray

    function, shared, device, models = common
    found = {} if models is None else asdict(identity(device, models))
    node = ray.util.get_node_ip_address()
    if expected is not None and found != expected:
        return found, node, None
    return found, node, function(shared, job)


def told(error: Exception) -> str:
    """Return the message of the exception that a task raised, without Ray's wrapped traceback."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0] if isinstance(cause, ModelError) else f"{type(cause).__name__}: {lines[-1]}"


@contextlib.contextmanager
def open_cluster(
    address: str,
    *,
    device: str | None = None,
    models: tuple[str, ...] | None = None,
    any_device: bool = False,
    workers: int = 1,
) -> Iterator[Cluster]:
    """Connect to a cluster.

    models: names whose weights count for the identity. workers: of a local cluster, 1 for all cores.
    """
    with connected(address, cpus=workers if workers > 1 else None) as ray:
        yield Cluster(ray, device, models, any_device)
