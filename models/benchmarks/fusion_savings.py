"""Work of one evaluation of each transformer: unmodified, fused and precomputed.

Run with `python -m models.benchmarks.fusion_savings [--json]`. Uses the real configurations at 512x512 and
batch size 1, from shapes alone. Counts launches, FLOPs and bytes of the transformer as `diffusers` runs it,
with fused passes, and with the parts that depend only on prompt and time precomputed; also of encoding and
decoding by SANA's autoencoder. Everything is counted, not measured.
"""

from __future__ import annotations

import json
import sys

import torch

from kernels.tools.launch_counter import Launched, record, total
from models.benchmarks import real_models
from models.pretrained.components.autoencoder import Coder
from models.pretrained.components.prompt_cache import Condition
from models.pretrained.families.base import Size
from models.pretrained.families.modulation_cache import Modulated

SIZE = Size(512, 512)
TIME = 0.5
COUNTED = ("sd3.5-medium", "flux-schnell", "flux2-klein", "z-image-turbo", "sana-sprint")


def deep_coder() -> dict[str, list[Launched]]:
    """Encode and decode a picture with SANA's autoencoder, unmodified and with fused passes."""
    vae = real_models.empty("AutoencoderDC", real_models.DEEP, torch.bfloat16)
    vae = vae.to(memory_format=torch.channels_last)
    image = torch.empty((1, 3, *SIZE), device="meta").contiguous(memory_format=torch.channels_last)
    found = {}
    for kind, fuse in (("plain", False), ("fused", True)):
        coder = Coder(vae, fuse=fuse)
        found[kind] = record(lambda coder=coder: coder.decode(coder.encode(image)))
    return found


def counted(name: str, *, plain: bool = True) -> dict[str, list[Launched]]:
    """One evaluation unmodified, with fused passes, and with conditions precomputed as well."""
    family = real_models.empty_family(name, fuse=False)
    assert isinstance(family, Modulated)
    family.guidance = 0.0
    told = real_models.told_of(real_models.REAL[name])
    side = SIZE.height // family.latent_px
    x = torch.empty((1, family.channels(), side, side), device="meta")
    found = {"plain": record(lambda: family.asked(x, TIME, told))} if plain else {}
    family.ready(True)
    found["fused"] = record(lambda: family.asked(x, TIME, told))
    with torch.no_grad():
        family.prepare(Condition(told), (TIME,), SIZE)
    found["folded"] = record(lambda: family.asked(x, TIME, told))
    return found


def main() -> int:
    rows = {}
    for name in (*COUNTED, "SANA's coder"):
        for kind, launched in (counted(name) if name in COUNTED else deep_coder()).items():
            count, flops, size = total(launched)
            rows[f"{name}, {kind}"] = {"launches": count, "gflop": flops / 1e9, "gbyte": size / 1e9}
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows))
        return 0
    print("one evaluation at 512x512, batch of one; counted on shapes alone, not measured")
    print(f"{'':26}{'launches':>9}{'GFLOP':>9}{'GB':>8}")
    for name, row in rows.items():
        print(f"{name:26}{row['launches']:9}{row['gflop']:9.1f}{row['gbyte']:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
