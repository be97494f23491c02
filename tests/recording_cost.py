"""Measure the cost of recording and logging: `python tests/recording_cost.py --rounds 6`.

Runs the demo at 512x512 with the real painter while four kinds of recording alternate: nothing, the log
alone, the ring buffer behind `keep that`, and a film of both panes at 30 frames per second. All figures are
from the same run; ratios and differences are relative to `nothing`. CPU times depend less on other load than
wall-clock times do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np  # noqa: E402

WAYS = ("nothing", "log", "ring", "film")
SETTLE_S = 1.0


def timed(owner, name: str, spent: list[float]) -> None:
    """Wrap a method so that it records the CPU time of its thread, in seconds."""
    method = getattr(owner, name)

    def wrapper(*values):
        began_s = time.thread_time()
        try:
            return method(*values)
        finally:
            spent.append(time.thread_time() - began_s)

    setattr(owner, name, wrapper)


def main(rounds: int, seconds: float, folder: Path, ways: tuple[str, ...] = WAYS) -> dict:
    from models import registry
    from renderer.actions import Clear, Event
    from renderer.app import App
    from renderer.persistence import Files, Persistence
    from renderer.picture_params import PictureParams
    from renderer.recording.capture import WindowCapture
    from renderer.recording.recorder import Recorder
    from renderer.stroke_log.demo import DemoPlayer
    from renderer.stroke_log.log import read
    from renderer.stroke_log.store import SAMPLES, LogStore
    from renderer.ui.headless import Headless

    size, log = (512, 512), read(SAMPLES / "lake.jsonl")
    app = App(Headless(), lambda name, progress: registry.loader(name), PictureParams(), size=size, demo=log)
    while app.picture is None:
        app.step()
    found = {way: {"tick_ms": [], "fps": [], "dropped": 0} for way in ways}
    copying, encoding, logging = [], [], []
    for turn in range(rounds * len(ways)):
        turn_about, place = divmod(turn, len(ways))
        way = ways[(place + turn_about) % len(ways)]  # rotate the order of the kinds
        app.persistence.close()
        files = Files(store=LogStore(folder / f"{turn}") if way == "log" else None)
        app.persistence = Persistence(app.canvas, app.scene, app.messages, files=files)
        app.engine._on_idle = app.persistence.model_idle
        if way == "log":
            timed(app.persistence, "event", logging)
        elif way != "nothing":
            recorder = Recorder(ring_s=30.0 if way == "ring" else 0.0)
            capture = app.persistence.capture = WindowCapture(recorder, "side", folder)
            timed(capture, "update", copying)
            timed(recorder, "_take", encoding)
            if way == "film":
                recorder.start(folder / f"{turn}.mkv")
        app.apply(Event(Clear(), time.perf_counter()))
        app.demo = DemoPlayer(log, size)  # the same strokes for each kind, one point per tick
        app.demo._began_s = app._due_s + 1.5 / app.window.display_hz
        until_s = time.perf_counter() + SETTLE_S
        while time.perf_counter() < until_s:
            app.step()
        row, stats = found[way], app.stats
        ticks, frames, began_s = len(stats.tick_ms), stats.model_frames, time.perf_counter()
        while time.perf_counter() < began_s + seconds:
            app.step()
        row["tick_ms"] += stats.tick_ms[ticks:]
        row["fps"].append((stats.model_frames - frames) / (time.perf_counter() - began_s))
        if way in ("ring", "film"):
            row["dropped"] += app.persistence.capture.recorder.dropped
    app.close()
    films = sum(path.stat().st_size for path in folder.glob("*.mkv"))
    return report(found, copying, encoding, logging) | {
        "film_mb_a_minute": round(films / 1e6 / (rounds * (seconds + SETTLE_S)) * 60, 1)
    }


def spread(ratios: np.ndarray) -> list[float]:
    """95 % confidence interval of the median over the rounds, by bootstrap."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    return np.percentile(np.median(drawn, axis=1), (2.5, 97.5)).round(3).tolist()


def report(found: dict, copying: list[float], encoding: list[float], logging: list[float]) -> dict:
    plain_fps = np.array(found["nothing"]["fps"])
    plain_ms = np.percentile(found["nothing"]["tick_ms"], 99)
    made = {}
    for way, row in found.items():
        ratios = np.array(row["fps"]) / plain_fps  # per round, each with the same strokes
        made[way] = {
            "model_fps": round(float(np.mean(row["fps"])), 2),
            "model_fps_ratio": round(float(np.median(ratios)), 3),
            "model_fps_ratio_95": spread(ratios),
            "tick_p50_ms": round(float(np.percentile(row["tick_ms"], 50)), 3),
            "tick_p99_ms": round(float(np.percentile(row["tick_ms"], 99)), 3),
            "tick_p99_more_ms": round(float(np.percentile(row["tick_ms"], 99) - plain_ms), 3),
            "dropped": row["dropped"],
        }
    for name, spent in (("copy", copying), ("encode", encoding), ("log", logging)):
        if not spent:
            continue
        ms = np.array(spent) * 1e3
        made[f"{name}_processor_ms"] = {
            "calls": len(ms),
            "mean": round(float(ms.mean()), 3),
            "p99": round(float(np.percentile(ms, 99)), 3),
        }
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--ways", default=",".join(WAYS), help="`nothing` and some of the others")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        fields = main(given.rounds, given.seconds, Path(temporary), tuple(given.ways.split(",")))
    if given.json:
        print(json.dumps(fields))
    else:
        for key, value in fields.items():
            print(f"{key:22}", value)
