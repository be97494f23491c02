"""Replay segments rendered on the nodes of a cluster and stored on the local disk.

Independent of the cluster library: the command passes in the object that distributes the jobs. A node gets
the log's bytes and returns the files that a replay on one machine would have written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from renderer.actions import InputError
from renderer.files.png import with_about
from renderer.offline import makers, segments
from renderer.offline.replay import Plan, ReplayRenderer
from renderer.recording.animation import ANIMATIONS


class Made(Protocol):
    """Result of a job; see models.cluster.tasks.Done."""

    @property
    def job(self) -> int: ...

    @property
    def result(self) -> dict[str, bytes]: ...

    @property
    def node(self) -> str: ...

    @property
    def identity(self) -> dict[str, str]: ...


class Spread(Protocol):
    """Distributes jobs to nodes; see models.cluster.tasks.Cluster."""

    device: str
    any_device: bool
    deaths: int

    @property
    def nodes(self) -> int: ...

    def run(
        self, function: Callable, shared: Any, jobs: list[int], expected: dict | None = None
    ) -> Iterator[Made]: ...


@dataclass(frozen=True)
class Shared:
    """Input of every node: the plan and the bytes of its log. key: of the plan in a worker's cache."""

    key: str
    plan: Plan
    log: bytes


_player: tuple[str, ReplayRenderer, tempfile.TemporaryDirectory] | None = None  # cached in a worker process


class OnCluster:
    """Renders the segments of a replay on the nodes of `spread`."""

    def __init__(self, spread: Spread):
        self.spread = spread

    @property
    def words(self) -> str:
        """Text for the progress bar."""
        nodes = self.spread.nodes
        lost = f", {self.spread.deaths} workers lost" if self.spread.deaths else ""
        return f"frames, {nodes} node{'s' * (nodes != 1)}{lost}"

    def make(self, plan: Plan, missing: list[int]) -> Iterator[int]:
        """Yield the first frame of each segment once it is on the disk. Raises InputError."""
        spread = self.spread
        if spread.any_device and plan.settings.output.suffix.lower() in ANIMATIONS:
            raise InputError(
                "--any-device goes with .mkv, .mp4 or a folder of PNG: others cannot say it inside"
            )
        folder = segments.folder_of(plan)
        known = makers.read(folder)
        expected = next((maker for maker, _ in known), None)
        key = plan.fingerprint() + plan.settings.output.suffix
        shared = Shared(key, plan, plan.settings.log.read_bytes())
        for made in spread.run(render_segment, shared, missing, expected):
            for name, data in made.result.items():
                if spread.any_device and name.endswith(".png"):
                    data = with_about(data, {"device": made.identity})
                temporary = folder / f".{name}"
                temporary.write_bytes(data)
                os.replace(temporary, folder / name)
            known = makers.added(known, made.identity, made.job)
            makers.write(folder, known)
            yield made.job


def render_segment(shared: Shared, first: int) -> dict[str, bytes]:
    """Render one segment on a node. Returns its files by name, as segments.write_part writes them."""
    global _player
    if _player is None or _player[0] != shared.key:
        folder = tempfile.TemporaryDirectory(prefix="flowbrush-")
        log = Path(folder.name) / "log.jsonl"
        log.write_bytes(shared.log)
        output = Path(folder.name) / f"out{shared.plan.settings.output.suffix}"
        settings = replace(shared.plan.settings, log=log, output=output)
        _player = shared.key, ReplayRenderer(replace(shared.plan, settings=settings)), folder
    player = _player[1]
    files = segments.folder_of(player.plan)
    files.mkdir(exist_ok=True)
    segments.write_part(player, first, lambda count: None)
    made = {path.name: path.read_bytes() for path in sorted(files.iterdir())}
    for name in made:
        (files / name).unlink()
    return made
