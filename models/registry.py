"""Model names -> how to load them, lazily. numpy only: torch comes with the first model that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.api import Img2Img, ModelError

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True)
class Entry:
    """weights: the file in assets/. about: one line for `models`."""

    family: str
    weights: str
    licence: str
    about: str


ENTRIES: dict[str, Entry] = {
    "painter": Entry("painter", "painter.safetensors", "Apache-2.0", "the embedded painter, 1 to 4 steps"),
    "painter-teacher": Entry(
        "painter", "teacher.safetensors", "Apache-2.0", "the many-step flow that the painter was made from"
    ),
}


def loader(name: str, device: str | None = None) -> Callable[[], Img2Img]:
    """A function that loads the model. Raises ModelError at once for what is neither model nor file."""
    if name in ENTRIES:
        path = ASSETS / ENTRIES[name].weights
    elif name.endswith(".safetensors"):
        path = Path(name)
        if not path.is_file():
            raise ModelError(f"there is no file {name}")
    else:
        raise ModelError(
            f"no model is named {name!r}; choose {', '.join(ENTRIES)}, or name a .safetensors file"
        )

    def load() -> Img2Img:
        from models import painter

        return painter.load(path, device=device, name=name)

    return load


def describe() -> list[dict]:
    """One row a model: name, family, licence, size of the weights, whether they are here, what it is."""
    rows = []
    for name, entry in ENTRIES.items():
        path = ASSETS / entry.weights
        present = path.is_file()
        rows.append(
            {
                "name": name,
                "family": entry.family,
                "licence": entry.licence,
                "download_mb": 0,
                "weights_mb": round(path.stat().st_size / 1e6, 2) if present else None,
                "present": present,
                "about": entry.about,
            }
        )
    return rows
