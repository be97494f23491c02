"""LoRA: low-rank weights added to a model, each with a scale that can change from frame to frame."""

from __future__ import annotations

from pathlib import Path

from models.api import ModelError
from models.pretrained.sources.folder import read_header

PARTS = ("lora", "alpha", "diff", "dora")


def parse(text: str) -> tuple[Path, float]:
    """Parse FILE or FILE:scale into path and scale. Raises ModelError for a file that does not exist."""
    name, colon, scale = text.rpartition(":")
    try:
        made = (Path(name), float(scale)) if colon and name else (Path(text), 1.0)
    except ValueError:
        made = Path(text), 1.0
    if not made[0].is_file():
        raise ModelError(f"there is no LoRA file {made[0]}")
    if made[0].suffix != ".safetensors":
        raise ModelError(f"{made[0]}: a LoRA is loaded from .safetensors only")
    return made


def lay_over(pipe, wanted: list[tuple[Path, float]]) -> list[str]:
    """Load LoRA adapters into a `diffusers` pipeline and return their names, for `scale`.

    Raises ModelError for a file that is not a LoRA, or is one of another family.
    """
    names = []
    for path, _ in wanted:
        keys = [key for key in read_header(path) if key != "__metadata__"]
        if not any(part in key for key in keys for part in PARTS):
            raise ModelError(f"{path} is no LoRA")
        if not hasattr(pipe, "load_lora_weights"):
            raise ModelError(f"{type(pipe).__name__} takes no LoRA")
        name = f"lora{len(names)}"
        try:
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
        except Exception as error:
            raise ModelError(f"{path} is a LoRA for another family of models") from error
        if name not in {known for each in pipe.get_list_adapters().values() for known in each}:
            raise ModelError(f"{path} is a LoRA for another family of models")
        names.append(name)
    scale(pipe, names, [value for _, value in wanted])
    return names


def scale(pipe, names: list[str], scales: list[float]) -> None:
    """Set the weight of each adapter, from the next frame on."""
    pipe.set_adapters(names, adapter_weights=scales)
