"""GPU cost of a frame, counted from shapes alone: launches, FLOPs, bytes and a lower bound of its time.

Run with `python -m models.benchmarks.frame_cost`. The serving code runs on the meta device, from the painted
paper to bytes, at the real size of each model: the painter (a whole frame, and a stroke of 60 px), and the
pretrained models of the catalogue with fused passes and unmodified. Launches, FLOPs and bytes are counted;
milliseconds are computed from them and from the vendors' peak rates. Nothing is measured. Arguments: names of
models, by default all; --json prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels.tools.launch_counter import Launched, least_ms, record, total
from models.api import Img2Img, ModelError, Request
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.painter.painter import Painter

# dense fp16 tensor FLOP/s with float32 accumulation and memory bytes/s, from the vendor's data sheets
PEAKS = {
    "RTX 4090": (165.2e12, 1008e9),
    "RTX 5090": (209.5e12, 1792e9),
    "H100 SXM": (989.4e12, 3350e9),
}
SIZE_PX, LARGE_PX, STROKE_PX = 512, 2048, 60
PRETRAINED = (
    "sd-turbo",
    "sdxl-turbo",
    "sd3.5-medium",
    "sd3.5-large-turbo",
    "flux-schnell",
    "flux2-klein",
    "z-image-turbo",
    "sana-sprint",
)


@dataclass(frozen=True)
class Cost:
    """Launches, host-device copies, FLOPs and bytes of a frame, and a lower bound of its time on each GPU."""

    frame: str
    launches: int
    copies: int
    gflop: float
    gbyte: float
    least_ms: dict[str, float]
    by_kind: dict[str, int]

    @classmethod
    def of(cls, frame: str, launched: list[Launched]) -> Cost:
        copies = sum(one.host for one in launched)
        count, flops, size = total(launched)
        return cls(
            frame,
            count - copies,
            copies,
            round(flops / 1e9, 2),
            round(size / 1e9, 4),
            {gpu: round(least_ms(launched, *peaks), 3) for gpu, peaks in PEAKS.items()},
            dict(Counter(one.name for one in launched if not one.host).most_common()),
        )


def papers(size_px: int) -> list[np.ndarray]:
    """Return two papers that differ by a stroke of STROKE_PX in the middle."""
    first = np.zeros((size_px, size_px, 4), np.uint8)
    second = first.copy()
    begin = (size_px - STROKE_PX) // 2
    second[begin : begin + STROKE_PX, begin : begin + STROKE_PX] = 255
    return [first, second]


def counted(model: Img2Img, request: Request, *, before: Request | None = None) -> list[Launched]:
    """Record the launches of a frame that follows another one.

    CUDA graphs are off; they replay the same launches.
    """
    record(lambda: model.render(before or request))
    if before is None and (forget := getattr(model, "forget", None)):
        forget()
    return record(lambda: model.render(request))


def empty_painter() -> Painter:
    """Create the painter in half precision on the meta device."""
    return Painter(PainterNetwork().eval().requires_grad_(False), "painter", device="meta", dtype="float16")


def painter_frames() -> dict[str, Callable[[], list[Launched]]]:
    def whole(size_px: int, steps: int = 1) -> list[Launched]:
        return counted(empty_painter(), Request(papers(size_px)[0], steps=steps))

    def stroke(size_px: int) -> list[Launched]:
        first, second = papers(size_px)
        return counted(empty_painter(), Request(second), before=Request(first))

    return {
        "painter": lambda: whole(SIZE_PX),
        "painter, 4 steps": lambda: whole(SIZE_PX, 4),
        f"painter, {LARGE_PX} px": lambda: whole(LARGE_PX),
        f"painter, {LARGE_PX} px, a stroke": lambda: stroke(LARGE_PX),
        "painter, as it is trained": painter_plain,
    }


def painter_plain(size_px: int = SIZE_PX) -> list[Launched]:
    """Record a frame of the painter's network as it runs in training."""
    with torch.device("meta"):
        network = PainterNetwork().eval().requires_grad_(False)
        paper = torch.empty((size_px, size_px, 4), dtype=torch.uint8)
        noise = torch.empty((1, 3, size_px, size_px))
        one, mood = torch.empty(1), torch.empty((1, network.config.moods))

    def frame() -> Tensor:
        pixels = paper.float()
        alpha = pixels[..., 3:] / 255
        sketch = (pixels[..., :3] / 127.5 - 1) * alpha
        sketch, alpha = (flow.soften(part.permute(2, 0, 1)[None].contiguous()) for part in (sketch, alpha))
        condition = Condition(sketch, alpha, one, mood)
        picture = flow.denoise(network, flow.start(condition, noise), condition, one, one)
        return (picture[0] * 127.5 + 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()

    return record(frame)


def pretrained_frames(name: str) -> dict[str, Callable[[], list[Launched]]]:
    """Frames of one step at 512x512: by the fused path, and by the unmodified modules of `diffusers`."""

    def frame(fuse: bool) -> list[Launched]:
        from models.benchmarks.real_models import empty_model

        return counted(empty_model(name, fuse=fuse), Request(papers(SIZE_PX)[1], prompt="a lake"))

    return {name: lambda: frame(True), f"{name}, unmodified": lambda: frame(False)}


def frames(names: list[str]) -> dict[str, Callable[[], list[Launched]]]:
    """Return the frames to count. Raises ModelError for a name that is neither painter nor in PRETRAINED."""
    found = {}
    for name in names or ["painter", *PRETRAINED]:
        if name != "painter" and name not in PRETRAINED:
            raise ModelError(f"no frame of {name!r} is counted; choose painter, {', '.join(PRETRAINED)}")
        found |= painter_frames() if name == "painter" else pretrained_frames(name)
    return found


def main() -> int:
    words = sys.argv[1:]
    try:
        chosen = frames([word for word in words if word != "--json"])
    except ModelError as error:
        print(f"flowbrush: error: {error}", file=sys.stderr)
        return 1
    rows = [Cost.of(name, frame()) for name, frame in chosen.items()]
    if "--json" in words:
        print(json.dumps({"computed": "counted on shapes, not measured", "frames": [vars(r) for r in rows]}))
        return 0
    print(f"one frame, one step, {SIZE_PX}x{SIZE_PX} unless it says otherwise; counted, not measured;")
    print("least milliseconds computed from the counts and the vendors' peaks")
    print(f"{'':32}{'launches':>9}{'GFLOP':>9}{'GB':>8}" + "".join(f"{gpu + ' ms':>13}" for gpu in PEAKS))
    for row in rows:
        least = "".join(f"{value:13.3f}" for value in row.least_ms.values())
        print(f"{row.frame:32}{row.launches:9}{row.gflop:9.1f}{row.gbyte:8.3f}{least}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
