"""Estimate of the memory that a model takes on its device and on the host, before any of it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
SUGGESTED = 2  # flags, and smaller models, that a refusal names


@dataclass(frozen=True)
class Need:
    """Bytes. weights: of all components. largest: of the largest alone. work: of what is alive in a frame.

    staged: of the largest component that is on the host on its way to the device.
    """

    weights: int
    largest: int
    work: int
    staged: int = 0

    @property
    def total(self) -> int:
        """On the device, where all components lie there."""
        return self.weights + self.work

    @property
    def offloaded(self) -> int:
        """On the device, where only the component that works lies there."""
        return self.largest + self.work

    def on_device(self, *, offload: bool = False) -> int:
        return self.offloaded if offload else self.total

    def on_host(self, *, offload: bool = False) -> int:
        """On the host, where the model runs on another device."""
        return max(self.weights, self.staged) if offload else self.staged


@dataclass(frozen=True)
class Flags:
    """Options of the command line that change the need of memory."""

    dtype: str
    offload: bool = False
    quantize: str = ""

    def adds_to(self, other: Flags) -> bool:
        """Whether these are those of `other` and more."""
        return (
            self.offload >= other.offload
            and other.quantize in ("", self.quantize)
            and WIDTHS[self.dtype] <= WIDTHS[other.dtype]
        )

    def __str__(self) -> str:
        words = [f"--dtype {self.dtype}"]
        words += ["--offload"] * self.offload
        words += [f"--quantize {self.quantize}"] * bool(self.quantize)
        return " ".join(words)


Estimate = Callable[[str, str], Need]  # from dtype and quantizer


def of_folder(
    folder: Folder, dtype: str, side_px: int = 512, *, tiny: bool = False, quantize: str = ""
) -> Need:
    """The need of a model as it lies in a folder; only headers are read. tiny: a tiny autoencoder serves.
    quantize: "8bit" or "4bit" for the denoiser."""
    numbers = {
        name: count_parameters(folder.weights(name))[0]
        for name in folder.components
        if not name.startswith(WEIGHTLESS)
    }
    channels = TINY if tiny else widest(read_config(folder, "vae", "config.json"))
    return of_components(numbers, dtype, quantize, work(dtype, side_px, channels))


def of_files(files: Sequence[Path], dtype: str, side_px: int = 512, *, tiny: bool = False) -> Need:
    """The need of a model whose components lie together in these safetensors files."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, work(dtype, side_px, TINY if tiny else FULL), staged=weights)


def of_control(files: Sequence[Path], dtype: str) -> Need:
    """What a ControlNet adds: its work comes before the UNet's, in the same memory."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, 0, staged=weights)


def of_catalogue(model: Model, dtype: str, side_px: int = 512, quantize: str = "") -> Need:
    """The same from the sizes in the catalogue, for a model that is not here yet."""
    sizes = {QUANTIZED[0]: model.sizes.denoiser, "vae": model.sizes.vae}
    sizes |= {f"text_encoder_{at}": size for at, size in enumerate(model.sizes.encoders)}
    numbers = {name: round(size * 1e9) for name, size in sizes.items()}
    return of_components(numbers, dtype, quantize, work(dtype, side_px, TINY if model.tiny else FULL))


def of_components(numbers: dict[str, int], dtype: str, quantize: str, work: int) -> Need:
    """numbers: parameters of each component. Only the denoiser is quantized, on its way to the device."""
    plain = {name: count * WIDTHS[dtype] for name, count in numbers.items()}
    sizes = dict(plain)
    if quantize:
        sizes |= {n: round(numbers[n] * QUANTIZED_WIDTHS[quantize]) for n in QUANTIZED if n in numbers}
    return Need(sum(sizes.values()), max(sizes.values()), work, staged=max(plain.values()))


def work(dtype: str, side_px: int, channels: int) -> int:
    """channels: the most that the autoencoder has at full size."""
    return side_px * side_px * (ALIVE * channels + DENOISER_PIXEL) * WIDTHS[dtype]


def widest(config: dict) -> int:
    """The most channels that an autoencoder has at full size: its last block still gets those of the one
    before."""
    channels = config.get("block_out_channels") or config.get("decoder_block_out_channels") or [FULL]
    return max(channels[:2])


def free_bytes(device: str) -> int | None:
    """Memory that may still be taken on a device; None where the system does not say."""
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


def check(
    name: str, estimate: Estimate, flags: Flags, device: str, *, quantizable: bool = True, offloadable=True
) -> None:
    """Raise ModelError, with the figures and the flags that would help, for a model that does not fit.

    What is free is asked now, when the model that serves has its memory already. quantizable, offloadable:
    whether these flags can be used with the model at all.
    """
    free = {place: free_bytes(place) for place in dict.fromkeys((device, "cpu"))}
    need = estimate(flags.dtype, flags.quantize)
    short = shortage(need, flags, device, free)
    if short is None:
        return
    found: dict[Flags, Need] = {}
    for other in alternatives(flags, device, quantizable, offloadable):
        less = estimate(other.dtype, other.quantize)
        if shortage(less, other, device, free) is None and not any(other.adds_to(one) for one in found):
            found[other] = less
    fits = [
        f"{added(other, flags)} ({gb(less.on_device(offload=other.offload))})"
        for other, less in found.items()
    ][:SUGGESTED]
    fits += smaller_models(name, flags, device, free)
    place, wanted, room = short
    resident = resident_bytes(place)
    beside = f" beside {gb(resident)} of this program" if resident else ""
    detail = f" ({gb(need.weights)} of weights)" if place == device else ""
    what = place if place == device else "main memory"
    raise ModelError(
        f"{name} needs {gb(wanted)} in {flags.dtype}{detail}{'' if place == device else ' to load'} and "
        f"{what} has {gb(room)} free{beside}; what would fit: {', '.join(fits)}"
    )


def shortage(
    need: Need, flags: Flags, device: str, free: dict[str, int | None]
) -> tuple[str, int, int] | None:
    """(place, bytes wanted, bytes free) where there is too little; None where all fits."""
    wanted = {device: need.on_device(offload=flags.offload)}
    if device != "cpu":
        wanted["cpu"] = need.on_host(offload=flags.offload)
    for place, size in wanted.items():
        room = free[place]
        if room is not None and size > room:
            return place, size, room
    return None


def alternatives(flags: Flags, device: str, quantizable: bool, offloadable: bool) -> Iterator[Flags]:
    """Flags that take less memory than these, those that change the picture least first."""
    dtypes = [flags.dtype]
    if WIDTHS[flags.dtype] == 4:
        dtypes.append(half_dtype(device))
    gpu = device != "cpu"
    offloads = [flags.offload, True] if gpu and offloadable else [flags.offload]
    words = [flags.quantize, *QUANTIZED_WIDTHS] if gpu and quantizable else [flags.quantize]
    for quantize in dict.fromkeys(words):
        for offload in dict.fromkeys(offloads):
            for dtype in dtypes:
                other = Flags(dtype, offload, quantize)
                if other != flags:
                    yield other


def half_dtype(device: str) -> str:
    """The dtype of half the size that a device multiplies in."""
    from models.device.precision import has_bf16

    return "bfloat16" if device == "cpu" or has_bf16(device) else "float16"


def added(other: Flags, flags: Flags) -> str:
    """What is to be written beside `flags` to have `other`."""
    words = str(replace(other, offload=other.offload and not flags.offload))
    words = words.removeprefix(f"--dtype {flags.dtype}") if other.dtype == flags.dtype else words
    if other.quantize == flags.quantize:
        words = words.removesuffix(f"--quantize {flags.quantize}")
    return words.strip()


def smaller_models(name: str, flags: Flags, device: str, free: dict[str, int | None]) -> list[str]:
    """The largest models of the catalogue that fit with no further flag; the painter where none does."""
    plain = Flags(flags.dtype)
    found = [
        other
        for other, model in MODELS.items()
        if other != name and shortage(of_catalogue(model, flags.dtype), plain, device, free) is None
    ]
    return sorted(found, key=lambda other: -MODELS[other].sizes.total)[:SUGGESTED] or ["painter"]


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
