"""Read and check a model folder in the layout of `diffusers`: its components, completeness and safety."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from models.api import ModelError
from models.pretrained.sources.catalogue import PIPELINES

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # components that rendering does not use
WEIGHTLESS = ("scheduler", "tokenizer")
WORDS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")  # one is required
HALF = ".fp16"  # in names of half-precision weights, before a dot or a dash
MAX_HEADER = 100_000_000  # bytes; anything larger is not a header
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}


@dataclass(frozen=True)
class Folder:
    """A model folder. components: names used, with their classes. pipeline: name of its class."""

    path: Path
    pipeline: str
    components: dict[str, str]

    @property
    def family(self) -> str:
        return PIPELINES[self.pipeline][0]

    def weights(self, component: str) -> list[Path]:
        """The component's safetensors files: those in half precision where both exist."""
        files = sorted((self.path / component).glob("*.safetensors"))
        half = [file for file in files if HALF in file.name]
        return half or files

    def variant(self, component: str) -> str | None:
        """Variant of a component for `diffusers` to load; it can differ between the components of a model."""
        return "fp16" if any(HALF in file.name for file in self.weights(component)) else None


def read_folder(path: Path) -> Folder:
    """Read a model folder. Raises ModelError if it is no model, incomplete, or would run third-party code."""
    folder = read_index(path)
    for name in folder.components:
        check_component(folder, name)
    return folder


def read_index(path: Path) -> Folder:
    """Read a folder's index. Raises ModelError if it is no model, or would run third-party code."""
    index = read_json(path / INDEX)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise ModelError(f"{path}: its {INDEX} names no pipeline")
    if pipeline not in PIPELINES:
        raise ModelError(f"{path}: a {pipeline} cannot be painted with; {', '.join(PIPELINES)} can")
    components = {}
    for name, value in index.items():
        if name.startswith("_") or name in UNUSED or not isinstance(value, list) or value == [None, None]:
            continue
        if len(value) != 2 or value[0] not in LIBRARIES:
            raise ModelError(f"{path}: {name} comes with code of its own ({value[0]}), which is not run")
        components[name] = str(value[1])
    return Folder(path, pipeline, components)


def read_json(path: Path) -> dict:
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: there is no {path.name}; this is no diffusers folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(made, dict):
        raise ModelError(f"{path} is not what it should be: no JSON object")
    return made


def check_component(folder: Folder, name: str) -> None:
    """Raise ModelError unless the component exists, only as safetensors, with files of the stated length."""
    inside = folder.path / name
    if not inside.is_dir():
        raise ModelError(f"{folder.path}: its {name} is missing")
    if name.startswith("tokenizer"):
        if not any((inside / file).exists() for file in WORDS):
            raise ModelError(f"{folder.path}: its {name} is missing: {name}/{' or '.join(WORDS)}")
        return
    if name.startswith("scheduler"):
        read_config(folder, name, "scheduler_config.json")
        return
    if "auto_map" in read_config(folder, name, "config.json"):
        raise ModelError(f"{folder.path}: {name} comes with code of its own, which is not run")
    files = folder.weights(name)
    if not files:
        pickles = [file.name for pattern in ("*.bin", "*.ckpt", "*.pt") for file in inside.glob(pattern)]
        kind = f"only as a pickle ({pickles[0]}), which is not loaded" if pickles else "missing"
        raise ModelError(f"{folder.path}: the weights of its {name} are {kind}; safetensors are")
    for index in inside.glob("*.safetensors.index*.json"):
        wanted = set(read_json(index).get("weight_map", {}).values())
        lacking = sorted(file for file in wanted if not (inside / file).exists())
        if lacking:
            raise ModelError(f"{folder.path}: {name}/{lacking[0]} is missing")
    for file in files:
        read_header(file)


def read_config(folder: Folder, name: str, file: str) -> dict:
    if not (folder.path / name / file).exists():
        raise ModelError(f"{folder.path}: {name}/{file} is missing")
    return read_json(folder.path / name / file)


def read_header(path: Path) -> dict[str, dict]:
    """Read a safetensors header: name -> dtype and shape; under "__metadata__" its other entries.

    Only the header is read. Raises ModelError for another kind of file, or one shorter than its header says.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, MAX_HEADER):
                raise ValueError("its header is cut short")
            header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for n, entry in header.items() if n != "__metadata__"), default=0)
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no whole safetensors file: {error}; download it again") from error
    if 8 + length + end != size:
        lacking = 8 + length + end - size
        whole = f"{lacking} of {8 + length + end} bytes are missing"
        raise ModelError(f"{path} is cut short: {whole}; download it again")
    return header


def stored_dtype(files: Sequence[Path]) -> str:
    """Most frequent dtype, by number of values, in the format's own name; empty for no files."""
    numbers: Counter[str] = Counter()
    for file in files:
        for name, entry in read_header(file).items():
            if name != "__metadata__":
                numbers[entry["dtype"]] += prod(entry["shape"])
    return numbers.most_common(1)[0][0] if numbers else ""


def count_parameters(files: Sequence[Path]) -> tuple[int, int]:
    """(numbers, bytes) in these safetensors files, from their headers."""
    numbers = size = 0
    for file in files:
        for name, entry in read_header(file).items():
            if name != "__metadata__":
                count = prod(entry["shape"])
                numbers, size = numbers + count, size + count * BYTES.get(entry["dtype"], 1)
    return numbers, size
