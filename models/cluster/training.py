"""Training stages on a cluster: `data` in independent shards, other stages data-parallel with Ray Train."""

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

OUTPUTS = {  # folders that each painter's stage writes; it reads those of the other stages
    "colors": {
        "teacher": ("teacher",),
        "reflow": ("reflow",),
        "distil": ("distil",),
        "finish": ("finish", "calibrate"),
        "diffusion": ("diffusion-linear", "diffusion-cosine"),
    },
    "materials": {name: (name,) for name in ("teacher", "reflow", "distil", "plan")},
}
RESTARTS = 20  # maximum restarts after lost workers


def run_stage(
    stage: str,
    folder: Path | None = None,
    *,
    address: str,
    workers: int = 1,
    painter: str = "materials",
    quick: bool = False,
    any_device: bool = False,
    **sources: Path | None,
) -> None:
    """Run one stage on a cluster. Raises ModelError.

    folder: must be visible to all nodes, except for `data`.
    painter, and images and pictures in `sources`: see models.training.run_stage.
    """
    if sources.get("images") is not None:
        painter = "colors"
    if painter not in OUTPUTS:
        raise ModelError(f"no painter is named {painter!r}; choose {' or '.join(OUTPUTS)}")
    known = OUTPUTS[painter]
    if stage not in ("data", *known):
        raise ModelError(
            f"--ray goes with data, {', '.join(known)} of {painter}; {stage} runs on one machine"
        )
    from models.training.data import dataset

    name = {"colors": "", "materials": "materials"}[painter]
    parts = [name or ("" if quick else "full"), "quick" if quick else ""]
    folder = folder or dataset.default_folder() / "-".join(filter(None, parts))
    options = {"quick": quick, **{key: value for key, value in sources.items() if value is not None}}
    if stage == "data":
        nodes = {"device": "cpu", "models": (), "any_device": any_device, "workers": workers}
        with open_cluster(address, **nodes) as cluster:
            stages_of(painter).run(stage, folder, spread=files_on(cluster), **options)
        return
    settings = {"painter": painter, "stage": stage, "folder": folder, "options": options}
    train_on(address, run_worker, settings, workers)


def stages_of(painter: str) -> Any:
    """Return the module with a painter's stages; it needs numba and torch."""
    if painter == "colors":
        from models.training.color_painter import stages as of_colors

        return of_colors
    from models.training.material_painter import stages as of_materials

    return of_materials


def files_on(cluster: Cluster) -> Callable[[Callable, Path, list[tuple]], Iterator[tuple]]:
    """Return a `Spread` that runs file-writing jobs `function(folder, *job)` on nodes without the folder."""

    def spread(function: Callable, folder: Path, jobs: list[tuple]) -> Iterator[tuple]:
        for done in cluster.run(written_files, function, jobs):
            for name, data in done.result.items():
                temporary = folder / f".{name}.part"
                temporary.write_bytes(data)
                os.replace(temporary, folder / name)
            yield done.job

    return spread


def written_files(function: Callable, job: tuple) -> dict[str, bytes]:
    """On a node: call `function(folder, *job)` with an empty folder and return the written files by name."""
    with tempfile.TemporaryDirectory(prefix="flowbrush-") as folder:
        function(Path(folder), *job)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def train_on(address: str, function: Callable[[dict], None], settings: dict, workers: int) -> None:
    """Run `function(settings)` in a group of workers; a lost worker restarts the group, smaller if necessary.

    settings["folder"]: must be visible to all nodes; training resumes from checkpoints there.
    Raises ModelError.
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
    """In a worker: run the stage as on one machine. Only the first worker writes into the folder."""
    from models.training import distributed

    stage, folder, options = settings["stage"], settings["folder"], settings["options"]
    stages = stages_of(settings["painter"])
    if distributed.is_main():
        stages.run(stage, folder, **options)
        return
    with tempfile.TemporaryDirectory(prefix="flowbrush-") as scratch:
        look_into(folder, Path(scratch), OUTPUTS[settings["painter"]][stage])
        stages.run(stage, Path(scratch), **options)


def look_into(folder: Path, scratch: Path, outputs: tuple[str, ...]) -> None:
    """Link all subfolders of `folder` but `outputs` into `scratch`, whose other contents are discarded."""
    for path in folder.iterdir():
        if path.is_dir() and path.name not in outputs and not path.name.startswith((".", "own-")):
            (scratch / path.name).symlink_to(path, target_is_directory=True)
