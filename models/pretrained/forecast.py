"""What a model will need of memory, told before any of it is loaded, against what is free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from models.api import ModelError
from models.pretrained.catalogue import MODELS, Model
from models.pretrained.components import QUANTIZED
from models.pretrained.folder import WEIGHTLESS, Folder, count_parameters

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_WIDTHS = {"8bit": 1, "4bit": 0.5 + 4 / 64}  # of 64 numbers of four bits there is one scale
# values that are alive at once for each pixel of the picture; estimates from the widest layers
FULL_PIXEL, TINY_PIXEL, DENOISER_PIXEL = 3 * 128, 3 * 64, 100


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
    return Need(sum(sizes), max(sizes), work(dtype, side_px, tiny))


def of_files(files: list[Path], dtype: str, side_px: int = 512) -> Need:
    """The need of a model whose components lie together in these safetensors files."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, work(dtype, side_px, tiny=False))


def of_catalogue(model: Model, dtype: str, side_px: int = 512, quantize: str = "") -> Need:
    """The same from the numbers that a model's makers give. quantize: as if all of it were."""
    weights = round(model.billions * 1e9 * (QUANTIZED_WIDTHS[quantize] if quantize else WIDTHS[dtype]))
    return Need(weights, weights, work(dtype, side_px, bool(model.tiny)))


def work(dtype: str, side_px: int, tiny: bool) -> int:
    alive = (TINY_PIXEL if tiny else FULL_PIXEL) + DENOISER_PIXEL
    return side_px * side_px * alive * WIDTHS[dtype]


def free_bytes(device: str) -> int | None:
    """Memory that may still be taken on a device; None where nobody tells."""
    if device.startswith("cuda"):
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        from models.machine import free_memory_mb

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
    smaller = [n for n, m in MODELS.items() if n != name and of_catalogue(m, "bfloat16").total <= free]
    fits += sorted(smaller, key=lambda n: -MODELS[n].billions)[:2] or ["painter"]
    resident = resident_bytes(device)
    beside = f" beside {gb(resident)} of this program" if resident else ""
    raise ModelError(
        f"{name} needs {gb(wanted)} in {dtype} ({gb(need.weights)} of weights) and {device} has {gb(free)} "
        f"free{beside}; what would fit: {', '.join(fits)}"
    )


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
