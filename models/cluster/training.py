"""Training stages on a cluster: data in independent shards, other stages data-parallel by Ray Train."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from models.api import ModelError
from models.cluster.ray_session import connected, reason
from models.cluster.tasks import Cluster, open_cluster

OUTPUTS = {  # folders that a stage writes; those of other stages it reads
    "teacher": ("teacher",),
    "reflow": ("reflow",),
    "distil": ("distil",),
    "finish": ("finish", "calibrate"),
    "diffusion": ("diffusion-linear", "diffusion-cosine"),
}
RESTARTS = 20  # after workers that were lost


def run_stage(
    stage: str,
    folder: Path | None = None,
    *,
    address: str,
    workers: int = 1,
    quick: bool = False,
    images: Path | None = None,
    any_device: bool = False,
) -> None:
    """One stage on a cluster. Raises ModelError. folder: seen by all nodes, except for `data`."""
    if stage not in ("data", *OUTPUTS):
        raise ModelError(f"--ray goes with data, {', '.join(OUTPUTS)}; {stage} runs on one machine")
    from models.training.data import dataset

    folder = folder or dataset.default_folder() / ("quick" if quick else "full")
    if stage == "data":
        from models.training.color_painter import stages

        with open_cluster(
            address, device="cpu", models=(), any_device=any_device, workers=workers
        ) as cluster:
            stages.run(stage, folder, quick=quick, spread=files_on(cluster))
        return
    if stage not in OUTPUTS:
        raise ModelError(f"--ray goes with data, {', '.join(OUTPUTS)}; {stage} runs on one machine")
    train_on(
        address, run_worker, {"stage": stage, "folder": folder, "quick": quick, "images": images}, workers
    )


def files_on(cluster: Cluster) -> Callable[[Callable, Path, list[tuple]], Iterator[tuple]]:
    """What spreads calls `function(folder, *job)` that write files over nodes that do not see the folder."""

    def spread(function: Callable, folder: Path, jobs: list[tuple]) -> Iterator[tuple]:
        for done in cluster.run(written_files, function, jobs):
            for name, data in done.result.items():
                temporary = folder / f".{name}.part"
                temporary.write_bytes(data)
                os.replace(temporary, folder / name)
            yield done.job

    return spread


def written_files(function: Callable, job: tuple) -> dict[str, bytes]:
    """On a node: call `function(folder, *job)` with an empty folder, and return its files by name."""
    with tempfile.TemporaryDirectory(prefix="flowbrush-") as folder:
        function(Path(folder), *job)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def train_on(address: str, function: Callable[[dict], None], settings: dict, workers: int) -> None:
    """Run `function(settings)` in a group of workers; a lost one restarts the group, smaller if need be.

    settings["folder"]: seen by all nodes; checkpoints there are gone on with. Raises ModelError.
    """
    folder = Path(settings["folder"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with connected(address, cpus=workers + 1) as ray:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = bool(ray.cluster_resources().get("GPU"))
        room = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if room < workers:
            raise ModelError(f"the cluster has room for {room} workers, not {workers}; lower --workers")
        storage = folder / ".ray-train"
        trainer = TorchTrainer(
            function,
            train_loop_config={**settings, "folder": folder, "gpu": gpu},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=(1, workers) if workers > 1 else 1, use_gpu=gpu),
            run_config=RunConfig(
                name="run", storage_path=str(storage), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise ModelError(f"training on the cluster stopped: {reason(error)}") from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)


def run_worker(settings: dict[str, Any]) -> None:
    """In a worker: the stage as on one machine. Only the first worker writes into the folder."""
    from models.training import distributed
    from models.training.color_painter import stages

    stage, folder = settings["stage"], settings["folder"]
    if distributed.is_main():
        stages.run(stage, folder, quick=settings["quick"], images=settings["images"])
        return
    with tempfile.TemporaryDirectory(prefix="flowbrush-") as scratch:
        look_into(folder, Path(scratch), OUTPUTS[stage])
        stages.run(stage, Path(scratch), quick=settings["quick"], images=settings["images"])


def look_into(folder: Path, scratch: Path, outputs: tuple[str, ...]) -> None:
    """Links in `scratch` to all that the folder holds but these: what is written there is thrown away."""
    for path in folder.iterdir():
        if path.name not in outputs and not path.name.startswith((".", "own-")):
            (scratch / path.name).symlink_to(path, target_is_directory=path.is_dir())
