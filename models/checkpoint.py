"""Read and write weights as safetensors files with their config: atomic writes, strict loading."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.api import ModelError

FORMAT = "flowbrush-painter/1"


def save(path: Path, weights: dict[str, torch.Tensor], config: dict, *, dtype=None) -> None:
    """Write weights and config atomically, by a temporary file beside `path`. dtype None: unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (t.to(dtype) if dtype and t.is_floating_point() else t).detach().contiguous().cpu()
        for name, t in weights.items()
    }
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata={"format": FORMAT, "config": json.dumps(config, sort_keys=True)})
    os.replace(temporary, path)


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read (weights, config). Raises ModelError for a file that is missing, truncated or of another kind."""
    if not path.is_file():
        raise ModelError(f"no weights at {path}: name a .safetensors file, or restore it from the repository")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(f"{path} holds no {FORMAT} weights: it was made by another program")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["config"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as weights, it may be cut short: {error}") from error


def content_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
