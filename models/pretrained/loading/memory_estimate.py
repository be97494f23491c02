"""Estimate the memory that a model needs on its device and on the host, before it is loaded."""

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
QUANTIZED_WIDTHS = {"8bit": 1, "4bit": 0.5 + 4 / 64}  # one scale for 64 numbers of four bits
# Peak memory of an autoencoder, in values of its widest full-size tensors. Decoding 512x512, torch on a
# CPU took 990 values a pixel with 256 channels (1,325 at 256x256), and 257 with 64.
ALIVE = 4
FULL, TINY = 256, 64  # most channels at full size, in the common autoencoders
DENOISER_PIXEL = 100  # values per pixel of the picture, estimated from its widest layers
SUGGESTED = 2  # how many flags, and smaller models, an error message names


@dataclass(frozen=True)
class Need:
    """Memory need of a model, in bytes.

    weights: of all components. largest: of the largest one. work: the peak of a frame's activations. staged:
    of the largest component that is on the host on its way to the device.
    """

    weights: int
    largest: int
    work: int
    staged: int = 0

    @property
    def total(self) -> int:
        """Need on the device with all components there."""
        return self.weights + self.work

    @property
    def offloaded(self) -> int:
        """Need on the device with offloading, where only the working component is there."""
        return self.largest + self.work

    def on_device(self, *, offload: bool = False) -> int:
        return self.offloaded if offload else self.total

    def on_host(self, *, offload: bool = False) -> int:
        """Need on the host, where the model runs on another device."""
        return max(self.weights, self.staged) if offload else self.staged


@dataclass(frozen=True)
class Flags:
    """Command-line options that affect memory use."""

    dtype: str
    offload: bool = False
    quantize: str = ""

    def adds_to(self, other: Flags) -> bool:
        """Whether these flags include those of `other`."""
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


Estimate = Callable[[str, str], Need]  # dtype, quantizer -> need


def of_folder(
    folder: Folder, dtype: str, side_px: int = 512, *, tiny: bool = False, quantize: str = ""
) -> Need:
    """Estimate the need of a model in a folder; reads only the file headers.

    tiny: a tiny autoencoder is used. quantize: "8bit" or "4bit" for the denoiser.
    """
    numbers = {
        name: count_parameters(folder.weights(name))[0]
        for name in folder.components
        if not name.startswith(WEIGHTLESS)
    }
    channels = TINY if tiny else widest(read_config(folder, "vae", "config.json"))
    return of_components(numbers, dtype, quantize, work(dtype, side_px, channels))


def of_files(files: Sequence[Path], dtype: str, side_px: int = 512, *, tiny: bool = False) -> Need:
    """Estimate the need of a model whose components are all in these safetensors files."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, work(dtype, side_px, TINY if tiny else FULL), staged=weights)


def of_control(files: Sequence[Path], dtype: str) -> Need:
    """Estimate what a ControlNet adds: its weights only; it runs before the UNet, in the same work memory."""
    weights = count_parameters(files)[0] * WIDTHS[dtype]
    return Need(weights, weights, 0, staged=weights)


def of_catalogue(model: Model, dtype: str, side_px: int = 512, quantize: str = "") -> Need:
    """Estimate the need of a model that is not downloaded yet, from the sizes in the catalogue."""
    sizes = {QUANTIZED[0]: model.sizes.denoiser, "vae": model.sizes.vae}
    sizes |= {f"text_encoder_{at}": size for at, size in enumerate(model.sizes.encoders)}
    numbers = {name: round(size * 1e9) for name, size in sizes.items()}
    return of_components(numbers, dtype, quantize, work(dtype, side_px, TINY if model.tiny else FULL))


def of_components(numbers: dict[str, int], dtype: str, quantize: str, work: int) -> Need:
    """Estimate the need from parameter counts.

    numbers: parameters of each component. Only the denoiser is quantized, on its way to the device.
    """
    plain = {name: count * WIDTHS[dtype] for name, count in numbers.items()}
    sizes = dict(plain)
    if quantize:
        sizes |= {n: round(numbers[n] * QUANTIZED_WIDTHS[quantize]) for n in QUANTIZED if n in numbers}
    return Need(sum(sizes.values()), max(sizes.values()), work, staged=max(plain.values()))


def work(dtype: str, side_px: int, channels: int) -> int:
    """Bytes of activations in a frame. channels: the most that the autoencoder has at full size."""
    return side_px * side_px * (ALIVE * channels + DENOISER_PIXEL) * WIDTHS[dtype]


def widest(config: dict) -> int:
    """Most channels that an autoencoder has at full size.

    Its last block still gets the channels of the block before.
    """
    channels = config.get("block_out_channels") or config.get("decoder_block_out_channels") or [FULL]
    return max(channels[:2])


def free_bytes(device: str) -> int | None:
    """Free memory of a device in bytes; None where the system does not report it."""
    if device.startswith("cuda"):
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    from models.device.system_info import free_memory_mb

    free = free_memory_mb()
    return None if free is None else free * 1_000_000


def resident_bytes(device: str) -> int | None:
    """Bytes that this process holds on a device: the loaded models, and on the CPU everything else too."""
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
    """Raise ModelError for a model that does not fit, with the figures and the flags that would help.

    Free memory is read now, when the model that currently serves already holds its own. quantizable,
    offloadable: whether these flags can be used with the model at all.
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
    """Return (place, bytes needed, bytes free) of the first shortage; None where everything fits."""
    wanted = {device: need.on_device(offload=flags.offload)}
    if device != "cpu":
        wanted["cpu"] = need.on_host(offload=flags.offload)
    for place, size in wanted.items():
        room = free[place]
        if room is not None and size > room:
            return place, size, room
    return None


def alternatives(flags: Flags, device: str, quantizable: bool, offloadable: bool) -> Iterator[Flags]:
    """Yield flags that need less memory, those that change the picture least first."""
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
    """The 16-bit dtype that a device computes in."""
    from models.device.precision import has_bf16

    return "bfloat16" if device == "cpu" or has_bf16(device) else "float16"


def added(other: Flags, flags: Flags) -> str:
    """Return the command-line text to add to `flags` to get `other`."""
    words = str(replace(other, offload=other.offload and not flags.offload))
    words = words.removeprefix(f"--dtype {flags.dtype}") if other.dtype == flags.dtype else words
    if other.quantize == flags.quantize:
        words = words.removesuffix(f"--quantize {flags.quantize}")
    return words.strip()


def smaller_models(name: str, flags: Flags, device: str, free: dict[str, int | None]) -> list[str]:
    """Largest catalogue models that fit without further flags; the painter where none does."""
    plain = Flags(flags.dtype)
    found = [
        other
        for other, model in MODELS.items()
        if other != name and shortage(of_catalogue(model, flags.dtype), plain, device, free) is None
    ]
    return sorted(found, key=lambda other: -MODELS[other].sizes.total)[:SUGGESTED] or ["painter"]


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
