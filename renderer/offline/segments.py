"""Replay in segments on the disk: rendered by several processes, resumable, joined at the end."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from renderer.actions import InputError
from renderer.cli.settings import Replay
from renderer.files.outputs import FILMS, check_free, check_layout, writable, wrote
from renderer.files.png import write_png
from renderer.offline import makers
from renderer.offline.replay import Plan, ReplayRenderer, plan
from renderer.recording.animation import ANIMATIONS, write_animation
from renderer.recording.container import VideoFile
from renderer.recording.encoder import FINE, Encoder, even, planar
from renderer.stroke_log.store import find_log

PART_FRAMES = 60
_player: ReplayRenderer | None = None  # cached in a worker process


class Elsewhere(Protocol):
    """Renders segments elsewhere and stores their files here; see renderer.offline.cluster.OnCluster."""

    @property
    def words(self) -> str: ...

    def make(self, plan: Plan, missing: list[int]) -> Iterator[int]: ...


def run(settings: Replay, models: tuple[str, ...], load, elsewhere: Elsewhere | None = None) -> None:
    """Run the command with a progress bar. models and load: as in Plan. Raises InputError.

    elsewhere: renders the segments instead of this machine.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

    class Rate(ProgressColumn):
        def render(self, task: Task) -> str:
            return "" if task.speed is None else f"{task.speed:.1f}/s"

    check_layout(settings.layout)
    check_output(settings.output, overwrite=settings.overwrite)
    made, session = plan(replace(settings, log=find_log(str(settings.log))), models, load)
    if session.fault:
        print(f"flowbrush: {session.fault}", file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("frames", total=made.frames)

        def done(count: int) -> None:
            progress.advance(task, count)
            if elsewhere is not None:
                progress.update(task, description=elsewhere.words)

        produce(made, done, elsewhere)


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Raise InputError for an invalid output path."""
    suffix = path.suffix.lower()
    if suffix in (*FILMS, *ANIMATIONS):
        writable(path, overwrite=overwrite)
    elif suffix:
        raise InputError(f"{path} must end in {', '.join((*FILMS, *ANIMATIONS))}, or name a folder")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there already; name a new folder for the pictures")


def produce(plan: Plan, done: Callable[[int], None], elsewhere: Elsewhere | None = None) -> None:
    """Write the plan's output. done: called with the number of finished frames, also of earlier runs.

    Raises InputError if it cannot be written.
    """
    check_output(plan.settings.output, overwrite=plan.settings.overwrite)
    folder = folder_of(plan)
    try:
        prepare(folder, plan)
        missing = []
        for first in range(0, plan.frames, PART_FRAMES):
            if complete(plan, first):
                done(end_of(plan, first) - first)
            else:
                missing.append(first)
        made = make(plan, missing, done) if elsewhere is None else elsewhere.make(plan, missing)
        for first in made:
            if plan.settings.workers > 1 or elsewhere is not None:
                done(end_of(plan, first) - first)
        join(plan, folder)
    except OSError as error:
        raise InputError(f"{plan.settings.output} cannot be written: {error.strerror}") from error
    shutil.rmtree(folder, ignore_errors=True)


def folder_of(plan: Plan) -> Path:
    output = plan.settings.output
    return output.with_name(output.name + ".parts")


def prepare(folder: Path, plan: Plan) -> None:
    """Create the folder of parts, or keep one with parts of the same plan."""
    note, ours = folder / "plan.json", {"flowbrush": plan.fingerprint()}
    if folder.exists():
        check_parts(folder, note)
        if json.loads(note.read_text(encoding="utf-8")) == ours:
            return
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    note.write_text(json.dumps(ours), encoding="utf-8")


def check_parts(folder: Path, note: Path) -> None:
    """Raise InputError for a folder of this name that no replay has made; its content is not changed."""
    try:
        ours = "flowbrush" in json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise InputError(f"{folder} is in the way; move it, or name another output")


def end_of(plan: Plan, first: int) -> int:
    return min(plan.frames, first + PART_FRAMES)


def make(plan: Plan, missing: list[int], done: Callable[[int], None]) -> Iterator[int]:
    """Make the missing parts, in this process or in others. Yields each one when it is finished."""
    if plan.settings.workers <= 1:
        player = ReplayRenderer(plan)
        for first in missing:
            write_part(player, first, done)
            yield first
        return
    fresh = multiprocessing.get_context("spawn")  # neither torch nor SDL survives a fork
    with ProcessPoolExecutor(plan.settings.workers, fresh, begin_worker, (plan,)) as pool:
        try:
            for first in pool.map(work, missing):
                yield first
        except BrokenProcessPool as error:
            raise InputError("a worker ended; the same command goes on where it stopped") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def begin_worker(plan: Plan) -> None:
    global _player
    _player = ReplayRenderer(plan)


def work(first: int) -> int:
    assert _player is not None, "begin_worker was not called"
    write_part(_player, first, lambda count: None)
    return first


def is_film(plan: Plan) -> bool:
    return plan.settings.output.suffix.lower() in FILMS


def part_file(plan: Plan, first: int) -> Path:
    return folder_of(plan) / f"part-{first:06}.mkv"


def frame_file(plan: Plan, frame: int) -> Path:
    return folder_of(plan) / f"frame-{frame:06}.png"


def complete(plan: Plan, first: int) -> bool:
    if is_film(plan):
        return part_file(plan, first).exists()
    return all(frame_file(plan, frame).exists() for frame in range(first, end_of(plan, first)))


def write_part(player: ReplayRenderer, first: int, done: Callable[[int], None]) -> None:
    plan, end = player.plan, end_of(player.plan, first)
    if not is_film(plan):
        for frame, picture in enumerate(player.frames(first, end), first):
            write_png(frame_file(plan, frame), picture, overwrite=True)
            done(1)
        return
    path = part_file(plan, first)
    temporary = path.with_name("." + path.name)
    pictures = (even(picture) for picture in player.frames(first, end))
    opening = next(pictures)
    encoder = Encoder((opening.shape[1], opening.shape[0]), FINE)
    film = VideoFile(temporary, encoder.stream)
    for frame, picture in enumerate(chain((opening,), pictures), first):
        for packet in encoder.encode(planar(np.ascontiguousarray(picture)), ms_of(plan, frame)):
            film.add(packet)
        done(1)
    for packet in encoder.flush():
        film.add(packet)
    film.finish()
    encoder.close()
    os.replace(temporary, path)


def ms_of(plan: Plan, frame: int) -> int:
    return round(frame * 1000 / plan.settings.fps)


def join(plan: Plan, folder: Path) -> None:
    """Join the parts to the output, via a temporary file."""
    output = plan.settings.output
    if not output.suffix:
        if output.exists():
            output.rmdir()
        (folder / "plan.json").unlink()
        (folder / makers.NAME).unlink(missing_ok=True)
        os.replace(folder, output)
        return
    check_free(output, overwrite=plan.settings.overwrite)
    temporary = folder / f"whole{output.suffix.lower()}"
    if is_film(plan):
        join_films([part_file(plan, first) for first in range(0, plan.frames, PART_FRAMES)], temporary, plan)
    else:
        write_animation(temporary, Pictures(plan), plan.settings.fps)
    os.replace(temporary, output)
    wrote(output)


class Pictures:
    """Sequence of the frames on the disk, (H, W, 3) uint8 RGB."""

    def __init__(self, plan: Plan):
        self._plan = plan

    def __len__(self) -> int:
        return self._plan.frames

    def __getitem__(self, frame: int) -> np.ndarray:
        if not 0 <= frame < len(self):
            raise IndexError(frame)
        data = np.fromfile(frame_file(self._plan, frame), np.uint8)  # cv2.imread fails for some paths
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(
                f"{frame_file(self._plan, frame)} is damaged; remove it and run the command again"
            )
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def join_films(parts: list[Path], output: Path, plan: Plan) -> None:
    """Copy the packets of all parts. Every part begins with a key frame and has no B-frames."""
    film: VideoFile | None = None
    frame, devices = 0, makers.mixture(folder_of(plan))
    for path in parts:
        with av.open(str(path)) as part:
            stream = part.streams.video[0]
            if film is None:
                film = VideoFile(output, stream, comment=devices, exact=True)
            for packet in part.demux(stream):
                if packet.size:
                    film.copy(bytes(packet), ms_of(plan, frame), packet.is_keyframe)
                    frame += 1
    assert film is not None, "a plan has at least one part"
    film.finish()
