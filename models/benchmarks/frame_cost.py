"""What a frame costs a GPU, counted on shapes alone: `python -m models.benchmarks.frame_cost [--json]`.

512x512, one step, from the painted paper to bytes. SD-Turbo (TAESD encodes, the UNet runs once, TAESD
decodes) as `diffusers` runs it and by our path; the painter as its network is trained and by its serving
body. Launches, FLOPs and bytes are counted; milliseconds are computed from them and from the vendors'
peaks. Nothing here is measured.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

import torch
from torch import Tensor, nn

from kernels.ops.flowstep import flow_step
from kernels.ops.paper import paper_in
from kernels.ops.picture import picture_out
from kernels.tools.launch_counter import Launched, least_ms, record, total
from models.painter import flow, patches
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.painter.packed import Body
from models.pretrained.fusion import patching
from models.pretrained.fusion.prepared_unet import PreparedUNet

SD_TURBO = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
PROMPT_TOKENS = 77
# dense fp16 tensor FLOP/s with float32 accumulation and memory bytes/s, from the vendor's data sheets
PEAKS = {
    "RTX 4090": (165.2e12, 1008e9),
    "RTX 5090": (209.5e12, 1792e9),
    "H100 SXM": (989.4e12, 3350e9),
}


def empty_models() -> tuple[nn.Module, nn.Module]:
    """(UNet, tiny autoencoder) of SD-Turbo in float16, as shapes without values."""
    from diffusers import AutoencoderTiny, UNet2DConditionModel

    with torch.device("meta"):
        pair = UNet2DConditionModel(**SD_TURBO), AutoencoderTiny()
    return tuple(model.half().eval().requires_grad_(False) for model in pair)


def sd_turbo_plain(size_px: int = 512) -> list[Launched]:
    """The frame by the modules of `diffusers`, in the plain torch of a per-frame loop around them."""
    unet, coder = empty_models()
    paper = torch.empty((size_px, size_px, 3), dtype=torch.uint8, device="meta")
    noise = torch.empty((1, 4, size_px // 8, size_px // 8), dtype=torch.float16, device="meta")
    prompt, t = prompt_of(unet)

    def frame() -> Tensor:
        image = (paper.half() / 127.5 - 1).permute(2, 0, 1)[None].contiguous()
        latent = coder.encode(image).latents
        x = latent * 0.5 + noise * 0.5
        denoised = x - 0.5 * unet(x, t, prompt).sample
        picture = coder.decode(denoised).sample
        return ((picture / 2 + 0.5).clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).contiguous()

    return record(frame)


def sd_turbo_fused(size_px: int = 512) -> list[Launched]:
    """The same frame by the fused path, prompt and timestep folded."""
    unet, coder = (model.to(memory_format=torch.channels_last) for model in empty_models())
    patching.operate(coder)
    prompt, t = prompt_of(unet)
    prepared = PreparedUNet(unet, t)
    prepared.prompt(prompt)
    paper = torch.empty((size_px, size_px, 4), dtype=torch.uint8, device="meta")
    none = torch.empty((1, 3, size_px, size_px), dtype=torch.float16, device="meta")
    noise = torch.empty((1, 4, size_px // 8, size_px // 8), dtype=torch.float16, device="meta")
    noise = noise.contiguous(memory_format=torch.channels_last)
    strength, dt = torch.empty(1, device="meta"), torch.empty(1, device="meta")

    def frame() -> Tensor:
        image = paper_in(paper, 0.0, noise=none, dtype=torch.float16).sketch
        x = flow_step(coder.encode(image).latents, noise, strength)
        denoised = flow_step(x, prepared(x, prepared.rows[0]), dt)
        return picture_out(coder.decode(denoised).sample)

    return record(frame)


def painter_plain(size_px: int = 512) -> list[Launched]:
    """A frame of the painter by the network that training sees."""
    network = empty_painter()
    paper, noise, one, mood = painter_inputs(network, size_px)

    def frame() -> Tensor:
        pixels = paper.float()
        alpha = pixels[..., 3:] / 255
        sketch = (pixels[..., :3] / 127.5 - 1) * alpha
        planes = (part.permute(2, 0, 1)[None].contiguous() for part in (sketch, alpha))
        condition = Condition(*(flow.soften(plane) for plane in planes), one, mood)
        picture = flow.denoise(network, flow.start(condition, noise), condition, one, one)
        return (picture[0] * 127.5 + 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()

    return record(frame)


def painter_fused(size_px: int = 512) -> list[Launched]:
    """The same by the serving body in half precision: conditions folded, everything in cells."""
    network = empty_painter()
    paper, noise, one, _ = painter_inputs(network, size_px)
    planes, noise = paper.permute(2, 0, 1).contiguous(), patches.of_pixels(noise)
    with torch.device("meta"):
        body = Body(network, torch.float16)
        biases = torch.empty((1, sum(body.widths)), dtype=torch.float16)
    return record(lambda: body.frame(planes, noise, one, biases))


def empty_painter() -> PainterNetwork:
    with torch.device("meta"):
        return PainterNetwork().eval().requires_grad_(False)


def painter_inputs(network: PainterNetwork, size_px: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Paper, noise, one number, and a mood, without values."""
    with torch.device("meta"):
        paper = torch.empty((size_px, size_px, 4), dtype=torch.uint8)
        noise = torch.empty((1, 3, size_px, size_px))
        return paper, noise, torch.empty(1), torch.empty((1, network.config.moods))


FRAMES = {
    "SD-Turbo, diffusers": sd_turbo_plain,
    "SD-Turbo, fused": sd_turbo_fused,
    "painter, plain": painter_plain,
    "painter, fused": painter_fused,
}


def prompt_of(unet: nn.Module) -> tuple[Tensor, Tensor]:
    width = unet.config.cross_attention_dim
    prompt = torch.empty((1, PROMPT_TOKENS, width), dtype=torch.float16, device="meta")
    return prompt, torch.empty(1, dtype=torch.int64, device="meta")


def main() -> int:
    rows = {}
    for name, frame in FRAMES.items():
        launched = frame()
        count, flops, size = total(launched)
        rows[name] = {
            "launches": count,
            "gflop": round(flops / 1e9, 1),
            "gbyte": round(size / 1e9, 3),
            "least_ms": {gpu: round(least_ms(launched, *peaks), 3) for gpu, peaks in PEAKS.items()},
            "by_kind": dict(Counter(one.name for one in launched).most_common()),
        }
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows))
        return 0
    print("one frame, 512x512, one step; counted, and least milliseconds computed from it; not measured")
    print(f"{'':20}{'launches':>9}{'GFLOP':>8}{'GB':>7}" + "".join(f"{gpu + ' ms':>13}" for gpu in PEAKS))
    for name, row in rows.items():
        least = "".join(f"{value:13.3f}" for value in row["least_ms"].values())
        print(f"{name:20}{row['launches']:9}{row['gflop']:8.0f}{row['gbyte']:7.2f}{least}")
    for name, row in rows.items():
        print(name + ": " + ", ".join(f"{count} {kind}" for kind, count in row["by_kind"].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
