"""What a model will need of memory, told before any of it is loaded, against what is free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.api import ModelError
from models.pretrained.loading.component_loader import QUANTIZED
from models.pretrained.sources.catalogue import MODELS, Model
from models.pretrained.sources.folder import WEIGHTLESS, Folder, count_parameters, read_config

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_WIDTHS = {"8bit": 1, "4bit": 0.5 + 4 / 64}  # of 64 numbers of four bits there is one scale
# How many of the widest tensors at full size an autoencoder has alive at once. Decoding 512x512, torch on a
# CPU took 990 values a pixel where there are 256 channels (1,325 at 256x256), and 257 where there are 64.
ALIVE = 4
FULL, TINY = 256, 64  # the most channels at full size of the usual autoencoders
DENOISER_PIXEL = 100  # values for each pixel of the picture, an estimate from its widest layers


@dataclass(frozen=True)
class Need:
    """Bytes. weights: of all components. largest: of the largest alone. work: of what is alive in a frame."""

    weights: int
    largest: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.work

    @property
    def offloaded(self) -> int:
        """On the device, where only the component that works lies there."""
        return self.largest + self.work


def of_folder(
    folder: Folder, dtype: str, side_px: int = 512, *, tiny: bool = False, quantize: str = ""
) -> Need:
    """The need of a model as it lies in a folder; only headers are read. tiny: a tiny autoencoder serves.
    quantize: "8bit" or "4bit" for the denoiser."""
    sizes = []
    for name in folder.components:
        if not name.startswith(WEIGHTLESS):
            width = QUANTIZED_WIDTHS[quantize] if quantize and name in QUANTIZED else WIDTHS[dtype]
            sizes.append(round(count_parameters(folder.weights(name))[0] * width))
    channels = TINY if tiny else widest(read_config(folder, "vae", "config.json"))
    return Need(sum(sizes), max(sizes), work(dtype, side_px, channels))


def of_files(files: Sequence[Path], dtype: str, side_px: int = 512, *, tiny: bool = False) -> Need:
    """The need of a model whose components lie together in these safetensors files."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, work(dtype, side_px, TINY if tiny else FULL))


def of_control(files: Sequence[Path], dtype: str) -> Need:
    """What a ControlNet adds: its work comes before the UNet's, in the same place."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, 0)


def of_catalogue(model: Model, dtype: str, side_px: int = 512, quantize: str = "") -> Need:
    """The same from the numbers that a model's makers give. quantize: as if all of it were."""
    weights = round(model.billions * 1e9 * (QUANTIZED_WIDTHS[quantize] if quantize else WIDTHS[dtype]))
    return Need(weights, weights, work(dtype, side_px, TINY if model.tiny else FULL))


def work(dtype: str, side_px: int, channels: int) -> int:
    """channels: the most that the autoencoder has at full size."""
    return side_px * side_px * (ALIVE * channels + DENOISER_PIXEL) * WIDTHS[dtype]


def widest(config: dict) -> int:
    """The most channels that an autoencoder has at full size: its last block still gets those of the one
    before."""
    channels = config.get("block_out_channels") or config.get("decoder_block_out_channels") or [FULL]
    return max(channels[:2])


def free_bytes(device: str) -> int | None:
    """Memory that may still be taken on a device; None where nobody tells."""
    if device.startswith("cuda"):
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    from models.device.system_info import free_memory_mb

    free = free_memory_mb()
    return None if free is None else free * 1_000_000


def resident_bytes(device: str) -> int | None:
    """What this program holds there already: the models that serve, and on the CPU all else of it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError, AttributeError):
        return None


def check(name: str, need: Need, dtype: str, device: str, *, offload: bool = False) -> None:
    """Raise ModelError, with the figures and with what would fit, for a model that does not.

    What is free is asked now, when the model that serves has its memory already.
    """
    free, wanted = free_bytes(device), need.offloaded if offload else need.total
    if free is None or wanted <= free:
        return
    fits = []
    if WIDTHS[dtype] == 4 and wanted / 2 <= free:
        fits.append(f"--dtype bfloat16 ({gb(wanted / 2)})")
    if device != "cpu" and not offload and need.offloaded <= free:
        fits.append(f"--offload ({gb(need.offloaded)})")
    smaller = [n for n, m in MODELS.items() if n != name and of_catalogue(m, dtype).total <= free]
    fits += sorted(smaller, key=lambda n: -MODELS[n].billions)[:2] or ["painter"]
    resident = resident_bytes(device)
    beside = f" beside {gb(resident)} of this program" if resident else ""
    raise ModelError(
        f"{name} needs {gb(wanted)} in {dtype} ({gb(need.weights)} of weights) and {device} has {gb(free)} "
        f"free{beside}; what would fit: {', '.join(fits)}"
    )


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
