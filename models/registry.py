"""Registry of model names and their lazy loaders. Needs numpy only; torch comes with the first model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assets import ASSETS
from models.api import DTYPES, Img2Img, ModelCard, ModelError, ProgressCallback, no_progress
from models.pretrained.loading import loader as build
from models.pretrained.sources import catalogue, settings_inference

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Entry:
    """A painter. weights: file in assets/. memory_mb: needed at 512x512. about: one line for `models`."""

    family: str
    weights: str
    licence: str
    about: str
    steps: tuple[int, int] = (1, 4)
    memory_mb: int = 300


ENTRIES: dict[str, Entry] = {
    "painter": Entry("painter", "painter.safetensors", "Apache-2.0", "the embedded painter, 1 to 4 steps"),
    "painter-teacher": Entry(
        "painter", "teacher.safetensors", "Apache-2.0", "the many-step flow that the painter was made from"
    ),
}


def weights_file(name: str) -> Path:
    """Return the weights file of a model. Raises ModelError for a name that is neither model nor file."""
    if name in ENTRIES:
        return ASSETS / ENTRIES[name].weights
    elif name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise ModelError(f"there is no file {name}")
        return Path(name)
    known = ", ".join([*ENTRIES, *catalogue.MODELS])
    raise ModelError(
        f"no model is named {name!r}; choose {known}, or name a .safetensors file or a folder of diffusers"
    )


def is_pretrained(name: str) -> bool:
    """Whether a name is a model of `diffusers`: of the catalogue, a folder, or a single file."""
    return name not in ENTRIES and (
        name in catalogue.MODELS or Path(name).is_dir() or settings_inference.is_single_file(name)
    )


def expected(name: str) -> ModelCard:
    """Return a model's card before it is loaded: its steps and its run settings.

    Raises ModelError for a folder that holds no model.
    """
    if not is_pretrained(name):
        return ModelCard(name)
    return (catalogue.MODELS.get(name) or settings_inference.of_name(name)).card(name)


def loader(
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    *,
    progress: ProgressCallback = no_progress,
    side_px: int = 512,
    memory_mb: int | None = None,
    **extras,
) -> Callable[[], Img2Img]:
    """Return a function that loads the model. Raises ModelError at once for neither model nor file.

    progress: callback for the load progress of a pretrained model. side_px: of its pictures, for the memory
    estimate. memory_mb: the most that a painter keeps between frames on a CPU. extras: sampler, guidance,
    lora, control, offload and quantize, as in `loader.Options`; a painter takes none of them.
    """
    if dtype not in (None, *DTYPES):
        raise ModelError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if device is not None and device.split(":")[0] not in DEVICES:
        raise ModelError(f"no device is named {device!r}; choose {' or '.join(DEVICES)}")
    if is_pretrained(name):
        options = build.Options(device=device, dtype=dtype, side_px=side_px, **extras)
        return lambda: build.load(name, options, progress=progress)
    path = weights_file(name)
    if extras:
        raise ModelError(f"{name} takes no --{next(iter(extras))}; that is for pretrained models")

    def load() -> Img2Img:
        from models.painter import painter

        return painter.load(path, device=device, dtype=dtype, name=name, memory_mb=memory_mb)

    return load


def has_dtype(dtype: str, device: str | None) -> bool:
    """Whether a device can render in this dtype; device None is cuda where available, else cpu."""
    if dtype != "bfloat16":
        return True
    from models.device.cuda import usual_device
    from models.device.precision import has_bf16

    return has_bf16(device or usual_device())


def weights_hash(name: str) -> str:
    """First 16 hex digits of the SHA-256 of the weights file; empty where there is no such file."""
    if is_pretrained(name):
        return ""
    path = weights_file(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def describe() -> list[dict]:
    """One row per model: name, family, licence, size of the weights, whether they are here, description."""
    rows = []
    for name, entry in ENTRIES.items():
        path = ASSETS / entry.weights
        present = path.is_file()
        rows.append(
            {
                "name": name,
                "family": entry.family,
                "licence": entry.licence,
                "steps": list(entry.steps),
                "memory_mb": entry.memory_mb,
                "download_mb": 0,
                "weights_mb": round(path.stat().st_size / 1e6, 2) if present else None,
                "present": present,
                "about": entry.about,
            }
        )
    return rows + [pretrained_row(name, model) for name, model in catalogue.MODELS.items()]


def pretrained_row(name: str, model: catalogue.Model) -> dict:
    """Row of a catalogue model for `describe`, with its published sizes in half precision."""
    from models.pretrained.loading import memory_estimate
    from models.pretrained.sources import hub

    need = memory_estimate.of_catalogue(model, "bfloat16")
    found = hub.cached(model.hub)
    present = found is not None and hub.complete(found)
    return {
        "name": name,
        "family": model.family,
        "licence": model.licence,
        "steps": list(model.steps[:2]),
        "memory_mb": round(need.total / 1e6),
        "download_mb": 0 if present else round(1000 * model.download_gb or need.weights / 1e6),
        "weights_mb": round(need.weights / 1e6),
        "present": present,
        "about": model.about,
    }
