"""Kill a recording process at random moments and check the files it leaves.

Run it as `python tests/kill_while_recording.py 200`.

Every film must decode up to within one second of the kill. Every log must load, contain every event that the
loop had carried out, and match the events of the demo.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

SUFFIXES = (".mkv", ".mp4")
MOST_LOST_S = 1.0
STALL_S = 0.5  # a loop iteration this long means that the machine stalled the program


class StoodStill(Exception):
    """The program was stalled shortly before the kill, so the run has no valid result."""


def paint(film: Path, folder: Path) -> None:
    """Run and record a demo with a stand-in model; print a line for every iteration of the loop."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    from loop_harness import ROOT, SlowModel

    from renderer.app import App
    from renderer.persistence import Files
    from renderer.picture_params import PictureParams
    from renderer.recording.capture import WindowCapture
    from renderer.recording.recorder import Recorder
    from renderer.stroke_log.log import read
    from renderer.stroke_log.store import LogStore
    from renderer.ui.headless import Headless

    model = SlowModel(0.02)
    app = App(
        Headless(),
        lambda name, progress: model,
        PictureParams(),
        size=(256, 256),
        files=Files(store=LogStore(folder)),
        demo=read(ROOT / "assets" / "sessions" / "lake.jsonl"),
    )
    app.persistence.capture = WindowCapture(Recorder(), "side", folder)
    app.persistence.capture.recorder.start(film)
    offered: list[float] = []
    offer = app.persistence.capture.recorder.offer

    def counted(picture, time_s) -> bool:
        offered.append(time_s)
        return offer(picture, time_s)

    app.persistence.capture.recorder.offer = counted
    done = [0]
    write = app.persistence.event

    def logged(event) -> None:
        write(event)
        done[0] += 1

    app.persistence.event = logged
    while True:
        app.step()
        if offered:
            os.write(1, f"{time.perf_counter() - offered[0]:.4f} {done[0]}\n".encode())


def kill_one(after_s: float, suffix: str, folder: Path) -> dict:
    """Start a process, kill it `after_s` after its first picture, check its files. Raises AssertionError."""
    film = folder / f"film{suffix}"
    program = subprocess.Popen(
        [sys.executable, __file__, "paint", str(film), str(folder)], stdout=subprocess.PIPE
    )
    first = program.stdout.readline()
    assert first, "the painting did not begin"
    seconds = 0.0
    lines = [first]
    end_s = time.perf_counter() + after_s
    while seconds < after_s and time.perf_counter() < end_s + 10:
        lines.append(program.stdout.readline())
        seconds = float(lines[-1].split()[0])
    program.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    killed_s = time.perf_counter() - end_s + after_s
    rest = program.stdout.read().splitlines(keepends=True)
    program.wait(10)
    whole = [line for line in lines + rest if line.endswith(b"\n")]
    turns_s = [float(line.split()[0]) for line in whole]
    stalls_s = [b - a for a, b in pairwise(turns_s) if b > turns_s[-1] - 2 * MOST_LOST_S]
    if max(stalls_s, default=0.0) > STALL_S:
        raise StoodStill
    return {"after_s": killed_s, **look_at(film, folder, turns_s[-1], int(whole[-1].split()[1]))}


def look_at(film: Path, folder: Path, lived_s: float, events: int) -> dict:
    import av

    from renderer.stroke_log.codec import quantized
    from renderer.stroke_log.demo import scale_action
    from renderer.stroke_log.log import read
    from renderer.stroke_log.store import SAMPLES, LogStore

    with av.open(str(film)) as file:
        times_s = [frame.time for frame in file.decode(video=0)]
    assert times_s, "no picture"
    lost_s = lived_s - times_s[-1]
    assert lost_s <= MOST_LOST_S, f"{lost_s:.2f} s of the film are lost"
    found = []
    if events:
        (log,) = LogStore(folder).crashed()
        session = read(log)
        assert session.fault == "", session.fault
        found = [event.action for event in session.events]
        demo = read(SAMPLES / "lake.jsonl")
        share = session.header.width / demo.header.width
        painted = [quantized(scale_action(event.action, share, share)) for event in demo.events]
        assert len(found) >= events, f"{events - len(found)} events are lost"
        assert found == painted[: len(found)]
    return {"lost_s": lost_s, "events": len(found), "told": events}


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    lost, stalls, began_s = [], 0, time.perf_counter()
    while len(lost) < count:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = kill_one(chance.uniform(0.3, 4.0), SUFFIXES[len(lost) % 2], Path(folder))
            except StoodStill:
                stalls += 1
                continue
        lost.append(found["lost_s"])
        if len(lost) % 20 == 0:
            print(f"{len(lost)} kills, at most {max(lost):.2f} s lost", flush=True)
    lost.sort()
    middle = lost[len(lost) // 2]
    print(
        f"{count} kills in {time.perf_counter() - began_s:.0f} s: every film decodes, no event lost; ", end=""
    )
    print(f"{stalls} more not counted, for the machine stood still; ", end="")
    print(f"of the film {middle:.2f} s lost in the middle, {lost[-1]:.2f} s at most")


if __name__ == "__main__":
    if sys.argv[1] == "paint":
        paint(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
