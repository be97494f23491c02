"""Measure the cost of a live source and of streaming: `python tests/live_figures.py --rounds 4`.

Run it on an idle machine. It uses the real painter at 512x512 in the real loop without a display. Four
configurations alternate: the demo alone (`pen`), the demo over a moving source (`pen+source`), a source alone
(`source`), and a source streamed over the loopback (`source+stream`). The source is a 512x512 video at 30
frames per second in which every pixel moves. Ratios are within one run. `bars` lists each figure with its
limit:

- every frame is painted or counted as skipped;
- capture to shown p95 at most 2 model frames + 2 display intervals;
- pen to picture p95 at most 1.2 times that without a source;
- streaming costs at most 5 % of the model's frames.

`--growth 600` runs one configuration for 600 seconds and reports the memory before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]
os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np  # noqa: E402
from video_files import steady, write_video  # noqa: E402

WAYS = ("pen", "pen+source", "source", "source+stream")
SIZE = (512, 512)
SETTLE_S = 2.0
DISPLAY_MS = 1000 / 60


def film(path: Path) -> Path:
    """Write a two-second video of scrolling hills in which every pixel changes with every frame."""
    random = np.random.default_rng(0)
    import cv2

    wide = cv2.resize(random.integers(30, 220, (12, 48, 3)).astype(np.uint8), (2048, 512))
    pictures = [np.ascontiguousarray(np.roll(wide, -17 * n, 1)[:, :512]) for n in range(60)]
    return write_video(path, steady(60), size=SIZE, pictures=pictures)


def run(way: str, seconds: float, video: Path, memory_mb: list[float] | None = None) -> dict:
    """Run the loop for `seconds` and return its figures; appends resident memory per second to memory_mb."""
    from models import registry
    from renderer.app import App
    from renderer.live import LiveParts
    from renderer.persistence import Files
    from renderer.picture_params import PictureParams
    from renderer.recording.capture import WindowCapture
    from renderer.recording.encoder import streaming
    from renderer.recording.recorder import Recorder
    from renderer.runtime.latency import percentiles
    from renderer.sinks.network_stream import NetworkStream, parse_stream
    from renderer.sources.readers.open_source import opener
    from renderer.sources.readers.spec import parse_source
    from renderer.sources.source_thread import SourceThread
    from renderer.stroke_log.log import read
    from renderer.stroke_log.store import SAMPLES
    from renderer.ui.headless import Headless

    source = stream = None
    files = Files()
    if "source" in way:
        spec = parse_source(str(video))
        source = SourceThread(spec, opener(spec), SIZE)
    if "stream" in way:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            stream = NetworkStream(parse_stream(f"udp://127.0.0.1:{free.getsockname()[1]}"))

        def capture() -> WindowCapture:
            recorder = Recorder(ring_s=0, outputs=[stream], options=streaming(4000))
            return WindowCapture(recorder, "picture", Path())

        files = Files(open_capture=capture)
    demo = read(SAMPLES / "lake.jsonl") if "pen" in way else None
    load = lambda name, progress: registry.loader(name)  # noqa: E731
    parts = LiveParts(source=source, stream=stream)
    app = App(Headless(), load, PictureParams(), size=SIZE, demo=demo, live=parts, files=files)
    try:
        while app.picture is None or (source is not None and app.live.source.painted < 3):
            app.step()
        spend(app, SETTLE_S)
        stats, layer = app.stats, app.live.source
        frames, inputs = stats.model_frames, len(stats.latency_ms)
        begun = (layer.painted, layer.skipped, len(layer.capture_ms)) if layer else (0, 0, 0)
        spend(app, seconds, memory_mb)
        made = {"model_fps": (stats.model_frames - frames) / seconds, "errors": app.messages.errors}
        made["model_ms"] = float(np.median(stats.frame_ms[frames:]))
        if demo is not None:
            made["pen_p95_ms"] = percentiles(stats.latency_ms[inputs:])["p95"]
        if layer is not None:
            shown = percentiles(layer.capture_ms[begun[2] :])
            made |= {"painted": layer.painted - begun[0], "skipped": layer.skipped - begun[1]}
            made |= {"capture_p50_ms": shown["p50"], "capture_p95_ms": shown["p95"]}
            source.pause(True)
            app_rest(app)
            fields = app.live.fields()["source"]
            made["unaccounted"] = (
                fields["captured"] - fields["painted"] - fields["skipped"] - fields["unchanged"]
            )
        if stream is not None:
            made |= {"stream_sent": stream.sent, "stream_dropped": stream.dropped}
        return made
    finally:
        app.close()


def spend(app, seconds: float, memory_mb: list[float] | None = None) -> None:
    import psutil

    process, began_s = psutil.Process(), time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < seconds:
        app.step()
        if memory_mb is not None and passed_s >= len(memory_mb):
            memory_mb.append(process.memory_info().rss / 1e6)


def app_rest(app) -> None:
    """Run the loop until the newest frame of the paused source is on the screen."""
    end_s = time.perf_counter() + 5
    while app.live.source.in_flight and time.perf_counter() < end_s:
        app.step()


def main(rounds: int, seconds: float) -> dict:
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        video = film(Path(folder) / "film.mp4")
        for turn in range(rounds):
            for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                found[way].append(run(way, seconds, video))
                print(turn, way, json.dumps(found[way][-1]), file=sys.stderr)
    middle = {
        way: {name: round(float(np.median([row[name] for row in rows])), 3) for name in rows[0]}
        for way, rows in found.items()
    }
    source = middle["source"]
    allowed_ms = 2 * source["model_ms"] + 2 * DISPLAY_MS
    pen = middle["pen+source"]["pen_p95_ms"] / middle["pen"]["pen_p95_ms"]
    cost = 1 - middle["source+stream"]["model_fps"] / source["model_fps"]
    middle["bars"] = {
        "every frame accounted for": all(row["unaccounted"] == 0 for row in found["source"]),
        "capture to shown p95 ms": [source["capture_p95_ms"], round(allowed_ms, 1)],
        "pen to picture ratio": [round(pen, 3), 1.2],
        "streaming costs": [round(cost, 3), 0.05],
    }
    return middle


def growth(seconds: float, way: str = "source+stream") -> dict:
    """Resident memory near the end of the first minute and in the last ten seconds of one long run."""
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        figures = run(way, seconds, film(Path(folder) / "film.mp4"), seen)
    first, last = float(np.mean(seen[50:70])), float(np.mean(seen[-10:]))
    memory = {"first_minute_mb": round(first, 1), "end_mb": round(last, 1)}
    return memory | {"growth": round(last / first - 1, 4)} | figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--growth", type=float, default=0.0)
    asked = parser.parse_args()
    print(json.dumps(growth(asked.growth) if asked.growth else main(asked.rounds, asked.seconds), indent=2))
