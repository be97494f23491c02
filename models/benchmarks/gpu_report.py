"""Frame times on a GPU with and without CUDA graphs, as one JSON object; part of `sh tests/gpu.sh`.

`python -m models.benchmarks.gpu_report OUT.json [--quick]` measures the painter, and pretrained models with
random weights at their real size where they fit in memory. `--collect FOLDER OUT.json` joins the result files
that the steps of gpu.sh left in a folder.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from models.api import Img2Img, Request
from models.device.system_info import processor

FORMAT = "flowbrush-gpu/1"
PRETRAINED = ("sd-turbo", "sdxl-turbo", "sd3.5-medium", "flux-schnell")
PAINTER = ((512, 1), (512, 4), (1024, 1), (2048, 1))  # side, steps
QUANTILES = (50, 95, 99)


def machine(device: str) -> dict:
    """Name of the GPU and versions of driver and libraries, recorded with the results."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else processor(),
        "capability": list(torch.cuda.get_device_capability(device)) if cuda else None,
        "memory_gb": round(torch.cuda.mem_get_info(device)[1] / 1e9, 1) if cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "host": processor(),
        "date": time.strftime("%Y-%m-%d"),
    }


def times(render: Callable[[int], object], frames: int) -> dict[str, float]:
    """Milliseconds of frames at the quantiles; render(number) makes one frame and waits for it."""
    found = []
    for number in range(frames):
        begin = time.perf_counter()
        render(number)
        found.append((time.perf_counter() - begin) * 1e3)
    return {f"p{q}": round(float(np.percentile(found, q)), 3) for q in QUANTILES}


def rows_of(model: Img2Img, name: str, side_px: int, steps: int, frames: int) -> list[dict]:
    """Time eager frames, then capture the CUDA graphs and time the same frames with them."""
    papers = [np.full((side_px, side_px, 4), value, np.uint8) for value in (40, 200)]

    def render(number: int) -> None:
        request = Request(papers[number % 2], steps=steps, prompt="a lake", seed=1)
        forget()
        reasons.append(model.render(request).why_not_faster or "")

    forget, rows = getattr(model, "forget", lambda: None), []
    for way in ("eager", "graphs"):
        reasons: list[str] = []
        for number in range(3):
            render(number)
        if way == "graphs":
            while model.rest():
                render(0)
        reasons.clear()
        row = {"model": name, "size": side_px, "steps": steps, "way": way, "dtype": model.card.dtype}
        rows.append(row | {"ms": times(render, frames), "why_not_faster": reasons[-1]})
    return rows


def painter_rows(device: str, sizes, frames: int) -> list[dict]:
    """Time the embedded painter: whole frames, and strokes of 60 px on the largest paper."""
    from assets import ASSETS
    from models.painter import painter

    rows = []
    for side_px, steps in sizes:
        model = painter.load(ASSETS / "painter.safetensors", device=device)
        rows += rows_of(model, "painter", side_px, steps, frames)
        model.close()
    side_px = max(side for side, _ in sizes)
    model = painter.load(ASSETS / "painter.safetensors", device=device)
    paper = np.zeros((side_px, side_px, 4), np.uint8)

    def stroke(number: int) -> None:
        made = paper.copy()
        at = 64 + number * 7 % (side_px - 128)
        made[at : at + 60, at : at + 60] = 255
        model.render(Request(made))

    for number in range(3):
        stroke(number)
        while model.rest():
            pass
    row = {"model": "painter, a stroke", "size": side_px, "steps": 1, "way": "graphs"}
    rows.append(row | {"dtype": model.card.dtype, "ms": times(stroke, frames), "why_not_faster": ""})
    rows[-1]["why_not_faster"] = model.card.why_not_faster
    model.close()
    return rows


def pretrained_rows(names, device: str, frames: int, *, side_px: int = 512) -> list[dict]:
    """Time full-size models with random weights, fused and unmodified; note those that do not fit."""
    if not names:
        return []
    from models.benchmarks import real_models

    rows = []
    for name in names:
        for fuse in (True, False):
            label = name if fuse else f"{name}, unmodified"
            try:
                model = real_models.empty_model(name, device=torch.device(device), fuse=fuse)
                rows += rows_of(model, label, side_px, 1, frames)
                model.close()
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                rows.append({"model": label, "error": str(error).strip().splitlines()[0]})
            model = None  # frees its memory before the next model is loaded
            gc.collect()
            if torch.device(device).type == "cuda":
                torch.cuda.empty_cache()
    return rows


def collect(folder: Path) -> dict:
    """Join the results of gpu.sh in one object: tests by name of their report, JSON reports unchanged."""
    found: dict = {"format": FORMAT, "tests": {}, "reports": {}}
    for path in sorted(folder.glob("*.xml")):
        suite = next(ElementTree.parse(path).iter("testsuite"))
        counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
        failed = [
            f"{case.get('classname')}::{case.get('name')}: {(trouble.get('message') or '').splitlines()[:1]}"
            for case in suite.iter("testcase")
            for trouble in (*case.findall("failure"), *case.findall("error"))
        ]
        found["tests"][path.stem] = counts | {"failed": failed}
    for path in sorted(folder.glob("*.json")):
        try:
            found["reports"][path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found["reports"][path.stem] = {"error": "not JSON: the step failed, see its log"}
    for path in sorted(folder.glob("*.code")):
        found.setdefault("exit_codes", {})[path.stem] = int(path.read_text())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--collect", type=Path, metavar="FOLDER")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few frames of the painter at 256 px alone")
    words = parser.parse_args()
    if words.collect is not None:
        found = collect(words.collect)
    else:
        sizes, names, frames = ([(256, 1)], (), 4) if words.quick else (PAINTER, PRETRAINED, 200)
        found = {"machine": machine(words.device), "frames": painter_rows(words.device, sizes, frames)}
        found["frames"] += pretrained_rows(names, words.device, frames)
    words.out.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
