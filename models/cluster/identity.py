"""Identity of a node: what determines a picture's bytes, i.e. device, torch, weights and program code."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from models.api import ModelError

ROOMS = ("renderer", "models", "kernels", "assets")


@dataclass(frozen=True)
class Identity:
    """Fingerprint of a node; nodes with equal identities render identical bytes for the same request.

    device: name and capabilities of the processor or GPU. weights: hash, or revision on the hub, by model.
    code: hash of the program's Python files.
    """

    device: str
    torch: str
    weights: str
    code: str

    def differences(self, other: Identity) -> list[str]:
        """Describe each field that differs, such as "torch 2.12 here, 2.13 there"."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name} {mine[name]} against {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@functools.cache
def identity(device: str, models: tuple[str, ...]) -> Identity:
    """Return this process's identity. device: cpu or cuda. Raises ModelError without device or weights."""
    import torch

    from models.device.system_info import processor

    if device.split(":")[0] == "cuda":
        if not torch.cuda.is_available():
            raise ModelError("torch finds no CUDA device on this node")
        kind = f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"
    else:
        kind = f"{processor()} {torch.backends.cpu.get_cpu_capability()}"
    weights = ", ".join(f"{name} {weights_of(name)}" for name in models)
    return Identity(kind, torch.__version__, weights, code_hash())


def weights_of(name: str) -> str:
    """Return the hash of a weights file, or the hub revision of a pretrained model."""
    from models import registry
    from models.pretrained.sources import catalogue, hub

    if not registry.is_pretrained(name):
        return registry.weights_hash(name) or "none"
    if name in catalogue.MODELS:
        found = hub.cached(catalogue.MODELS[name].hub)
        return Path(found).name if found is not None else "not downloaded"
    path = Path(name)
    if path.is_dir():
        return hashlib.sha256((path / "model_index.json").read_bytes()).hexdigest()[:16]
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@functools.cache
def code_hash() -> str:
    """Return the first 16 hex digits of the SHA-256 of all Python files of the four packages, by name."""
    root, digest = Path(__file__).resolve().parent.parent.parent, hashlib.sha256()
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
