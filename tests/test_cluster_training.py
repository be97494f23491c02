"""Tests of cluster training: data shards, distributed workers, and recovery from a lost worker."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ray_cluster import cluster, workers

from models.api import ModelError
from models.cluster import training
from models.cluster.tasks import open_cluster
from models.cluster.training import files_on, train_on
from models.training import distributed
from models.training.data.dataset import make_shard
from models.training.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]  # one Ray cluster at a time
STEPS, BATCH = 12, 8


@pytest.fixture(scope="module")
def two():
    """Cluster with a head and two nodes; the trainer process itself reserves no core."""
    with cluster(2) as made:
        yield made


def learn(settings: dict) -> None:
    """Fit a line of pixels with the stage loop.

    The batch of each step has `settings["batch"]` rows, which are divided among the workers.
    """
    torch.manual_seed(3)
    torch.set_num_threads(1)
    network = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    folder = Path(settings["folder"])
    if not distributed.is_main():
        folder = folder / "others"
    run = Run(folder, {"network": network, "optimizer": optimizer}, STEPS, BATCH)
    share = BATCH * settings["times"] // distributed.workers()
    rank = torch.distributed.get_rank() if distributed.workers() > 1 else 0
    for step in run.steps():
        rows = torch.from_numpy(
            np.random.default_rng(step).normal(size=(BATCH * settings["times"], 6))
        ).float()
        rows = rows[rank * share : (rank + 1) * share]
        loss = (network(rows) - rows[:, :2].square()).square().mean()
        optimizer.zero_grad()
        distributed.backward(loss, network.parameters())
        optimizer.step()
        run.note(loss=loss.item())
        with open(Path(settings["folder"]) / f"steps-{rank}", "a") as file:
            file.write(f"{step} {loss.item()!r} {distributed.workers()}\n")
        if settings.get("die_at") == step and rank == 1 and not (folder.parent / "died").exists():
            (folder.parent / "died").touch()
            os._exit(1)
        if settings.get("save"):
            run.save()


def losses(folder: Path, rank: int = 0) -> list[list[str]]:
    return [line.split() for line in (folder / f"steps-{rank}").read_text().splitlines()]


def weights(folder: Path) -> torch.Tensor:
    state = torch.load(folder / "state.pt", weights_only=True)["network"]
    return torch.cat([each.reshape(-1) for each in state.values()])


def test_one_worker_learns_to_the_last_digit_and_two_as_one_with_twice_the_batch(two, tmp_path):
    for name in ("here", "twice", "one", "pair"):
        (tmp_path / name).mkdir()
    threads = torch.get_num_threads()
    try:
        learn({"folder": tmp_path / "here", "times": 1})
        learn({"folder": tmp_path / "twice", "times": 2})
    finally:
        torch.set_num_threads(threads)
    train_on(two.address, learn, {"folder": tmp_path / "one", "times": 1}, 1)
    train_on(two.address, learn, {"folder": tmp_path / "pair", "times": 2}, 2)
    assert losses(tmp_path / "one") == losses(tmp_path / "here")
    assert torch.equal(weights(tmp_path / "one"), weights(tmp_path / "here"))
    assert {line[2] for line in losses(tmp_path / "pair")} == {"2"}
    assert torch.allclose(weights(tmp_path / "pair"), weights(tmp_path / "twice"), rtol=0, atol=1e-5)
    assert not torch.allclose(weights(tmp_path / "pair"), weights(tmp_path / "here"), rtol=0, atol=1e-3)
    means = np.mean([[float(line[1]) for line in losses(tmp_path / "pair", rank)] for rank in (0, 1)], 0)
    assert np.allclose(means, [float(line[1]) for line in losses(tmp_path / "twice")], rtol=0, atol=1e-5)
    assert not (tmp_path / "pair" / "others" / "state.pt").exists()


def test_a_lost_worker_restarts_the_group_from_the_checkpoint(two, tmp_path):
    folder = tmp_path / "run"
    train_on(two.address, learn, {"folder": folder, "times": 2, "die_at": 5, "save": True}, 2)
    assert (tmp_path / "run" / "died").exists()
    steps = [int(line[0]) for line in losses(folder)]
    assert sorted(set(steps)) == list(range(STEPS))
    assert len(steps) <= STEPS + 2  # only steps since the last checkpoint are repeated
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == STEPS


def write_number(folder: Path, number: int, power: int) -> None:
    """Job that writes a file, as `make_shard` does."""
    time.sleep(0.05)
    (folder / f"shard-{number}").write_text(str(number**power))


def test_files_of_jobs_come_to_this_machine(two, tmp_path):
    with open_cluster(two.address) as jobs:
        done = list(files_on(jobs)(write_number, tmp_path, [(number, 3) for number in range(6)]))
    assert sorted(done) == [(number, 3) for number in range(6)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"shard-{number}": str(number**3) for number in range(6)
    }
    assert workers() == []


def test_shards_of_a_node_are_those_of_this_machine(two, tmp_path):
    (tmp_path / "far").mkdir()
    make_shard(tmp_path, 0, 1, 5, 64)
    with open_cluster(two.address, device="cpu", models=()) as jobs:
        assert list(files_on(jobs)(make_shard, tmp_path / "far", [(0, 1, 5, 64)])) == [(0, 1, 5, 64)]
    (shard,) = tmp_path.glob("shard-*")
    with np.load(shard) as one, np.load(tmp_path / "far" / shard.name) as other:
        assert all(np.array_equal(one[key], other[key]) for key in one.files)


def test_a_stage_learns_on_two_workers(two, program, tmp_path):
    for name in ("views", "large", "held-out"):
        (tmp_path / name).mkdir()
        make_shard(tmp_path / name, 0, 2, len(name), 128)
    usual = ("--painter", "colors", "--quick", "--folder", tmp_path)
    done = program("train", "teacher", *usual, "--ray", two.address, "--workers", 2)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "teacher").iterdir()}
    assert {"state.pt", "log.jsonl", "teacher.safetensors"} <= names
    assert '"images": 48' in (tmp_path / "teacher" / "log.jsonl").read_text()  # 6 steps of 4, twice
    assert not (tmp_path / ".ray-train").exists()


def test_what_cannot_run_on_a_cluster_is_one_line(two, refused, tmp_path):
    assert "evaluate runs on one machine" in refused("train", "evaluate", "--ray", two.address)
    assert "go with --ray" in refused("train", "teacher", "--workers", 2)
    with pytest.raises(ModelError, match="room for 2 workers, not 7"):
        train_on(two.address, learn, {"folder": tmp_path}, 7)


def test_workers_other_than_the_first_write_elsewhere(tmp_path):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "shard").write_text("view")
    (tmp_path / "finish").mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    training.look_into(tmp_path, scratch, ("finish", "calibrate", "scratch"))
    assert (scratch / "views" / "shard").read_text() == "view" and not (scratch / "finish").exists()
