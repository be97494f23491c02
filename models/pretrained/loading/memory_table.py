"""Table of the memory that the catalogue's models need, and the flags with which they fit each size of card.

Run with `python -m models.pretrained.loading.memory_table`; its output is docs/memory.md.
"""

from __future__ import annotations

import sys

from models.pretrained.loading.memory_estimate import QUANTIZED_WIDTHS, Flags, Need, of_catalogue
from models.pretrained.sources.catalogue import MODELS, Model

CARDS_GB = (8, 12, 16, 24, 32, 80)  # nominal sizes, in GiB
TAKEN_BYTES = 1_000_000_000  # taken by the driver, the CUDA context and a desktop
SIDES_PX = (512, 1024)
CHOICES = [
    Flags("bfloat16", offload, quantize) for quantize in ("", *QUANTIZED_WIDTHS) for offload in (False, True)
]
INTRODUCTION = """# Memory of the pretrained models

Estimates, made by `python -m models.pretrained.loading.memory_table` from the number of parameters of each
component; nothing here was measured on a GPU. The same numbers decide, before a download or a load, whether a
model is refused and which flags the refusal names. 1 GB is 1e9 bytes. `float16` takes as much as `bfloat16`.

- **device**: all weights, and what is alive in a frame, with the tiny autoencoder where there is one.
- **`--offload`** keeps on the card only the component that works: the largest one counts.
- **`--quantize 8bit`**, **`4bit`** make the denoiser smaller; text encoders and autoencoder stay as they are.
- **host**: main memory while a model loads, one component after another; with `--offload` all of them stay
  there. The program itself takes about 1 GB more.
"""


def main() -> int:
    print(page(), end="")
    return 0


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [INTRODUCTION]
    for side_px in SIDES_PX:
        parts += [f"## What fits which card, {side_px}x{side_px}\n", fits_table(side_px)]
    parts += ["## On the device, in GB, 512x512\n", device_table(), "## On the host, in GB\n", host_table()]
    return "\n".join(parts)


def fits_table(side_px: int) -> str:
    """Table of the first of CHOICES with which each model fits each card."""
    heads = ["model", *(f"{card} GB" for card in CARDS_GB)]
    rows = [[name, *(first_fit(model, card, side_px) for card in CARDS_GB)] for name, model in MODELS.items()]
    free = f"its size in GiB less {TAKEN_BYTES / 1e9:g} GB"
    return f"Flags that are needed in bfloat16. Free on a card: {free}.\n\n" + markdown(heads, rows)


def first_fit(model: Model, card_gib: int, side_px: int) -> str:
    free = card_gib * 2**30 - TAKEN_BYTES
    for flags in CHOICES:
        need = of_catalogue(model, flags.dtype, side_px, flags.quantize)
        if need.on_device(offload=flags.offload) <= free:
            words = str(flags).removeprefix(f"--dtype {flags.dtype}").strip()
            return f"`{words}`" if words else "fits"
    return "too large"


def device_table() -> str:
    heads = ["model", "float32", "bfloat16", "`--offload`", "`8bit`", "`4bit`", "`4bit --offload`"]
    rows = []
    for name, model in MODELS.items():
        plain = of_catalogue(model, "bfloat16")
        eight, four = (of_catalogue(model, "bfloat16", quantize=word) for word in QUANTIZED_WIDTHS)
        sizes = [of_catalogue(model, "float32").total, plain.total, plain.offloaded, eight.total]
        rows.append([name, *map(gigabytes, [*sizes, four.total, four.offloaded])])
    return markdown(heads, rows)


def host_table() -> str:
    heads = [
        "model",
        *(f"{dtype}{flag}" for dtype in ("float32", "bfloat16") for flag in ("", " `--offload`")),
    ]
    rows = []
    for name, model in MODELS.items():
        needs: list[Need] = [of_catalogue(model, dtype) for dtype in ("float32", "bfloat16")]
        rows.append([name, *(gigabytes(n.on_host(offload=flag)) for n in needs for flag in (False, True))])
    return markdown(heads, rows)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f}"


if __name__ == "__main__":
    sys.exit(main())
