"""The `render` command: renders pictures from sketches, saved papers and OpenRaster files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.api import DTYPES, Img2Img, ModelCard, ProgressCallback, check_steps
from renderer.actions import InputError
from renderer.canvas.import_image import decode_paper
from renderer.canvas.open_raster import is_open_raster, read_document
from renderer.cli.settings import Render, size_px
from renderer.files.images import fit_labels, read_labels
from renderer.files.outputs import writable
from renderer.files.png import read_about, read_bytes, write_png
from renderer.picture_params import PictureParams
from renderer.runtime.load_progress import Progress
from renderer.runtime.pacing import finest

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".psd", ".ora")
Load = Callable[[], Img2Img]


class Models(Protocol):
    """Interface of `models.registry` that the command uses."""

    def loader(
        self, name: str, device: str | None = ..., *, progress: ProgressCallback, side_px: int, **extras: Any
    ) -> Load: ...

    def expected(self, name: str) -> ModelCard: ...

    def has_dtype(self, dtype: str, device: str | None) -> bool: ...


@dataclass
class Sketch:
    """A sketch. paper: (H, W, 4) uint8. materials: (H, W) uint8. about: settings stored in the file."""

    paper: np.ndarray
    materials: np.ndarray
    about: dict = field(default_factory=dict)


def render(settings: Render, models: Models) -> int:
    """Render all sketches. Returns the number of failures; a single sketch raises InputError instead."""
    inputs = list(sketches(settings.sketches))
    if settings.materials is not None and len(inputs) > 1:
        raise InputError("--materials belongs to one sketch; leave it out for several")
    size = None if settings.size is None else size_px(settings.size)
    several = len(inputs) > 1 or any(path.is_dir() for path in settings.sketches)
    outputs = output_files(inputs, settings.output, several=several)
    for output in outputs:
        writable(output, overwrite=settings.overwrite)
    renderer, failed = Renderer(settings, models), 0
    for path, output in zip(inputs, outputs, strict=True):
        try:
            renderer.render(read_sketch(path, size, settings.materials), output)
        except InputError as error:
            if not several:
                raise
            failed += 1
            print(f"flowbrush: error: {path}: {error}", file=sys.stderr)
            continue
        if several:
            print(f"flowbrush: {output}", file=sys.stderr)
    return failed


def sketches(paths: list[Path]) -> Iterator[Path]:
    """Yield the files, and the image files in folders. Raises InputError for a folder without images."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
        if not found:
            raise InputError(f"there is no image in {path}")
        yield from found


def output_files(inputs: list[Path], output: Path, *, several: bool) -> list[Path]:
    """Output PNG path of each input. Raises InputError for an invalid output."""
    if not several:
        if output.suffix.lower() != ".png":
            raise InputError(f"{output} must end in .png: a PNG keeps the settings inside")
        return [output]
    if output.suffix or (output.exists() and not output.is_dir()):
        raise InputError(f"{output} must be a folder: there are {len(inputs)} sketches")
    made: list[Path] = []
    for path in inputs:
        file, number = output / f"{path.stem}.png", 2
        while file in made:  # sketches of the same name in different folders
            file, number = output / f"{path.stem}-{number}.png", number + 1
        made.append(file)
    return made


def read_sketch(path: Path, size: tuple[int, int] | None, labels: Path | None = None) -> Sketch:
    """Read a sketch at this size (width, height), by default its own or the nearest valid one.

    labels: a label file with materials, of the sketch's size. By default materials are those stored in the
    sketch, else those of exact palette colours. Raises InputError.
    """
    data = read_bytes(path)
    if is_open_raster(data):
        document = read_document(data, size)
        paper, materials, about = document.stack.pixels, document.stack.materials, document.about
    else:
        (paper, materials), about = decode_paper(data, size), read_about(data)
    if labels is not None:
        materials = given_materials(read_bytes(labels), path, paper)
    return Sketch(paper, np.ascontiguousarray(materials), about)


def given_materials(data: bytes, sketch: Path, paper: np.ndarray) -> np.ndarray:
    """Materials, (H, W) uint8, of a label file, which must have the shape of the paper."""
    labels = read_labels(data)
    height, width = paper.shape[:2]
    if abs(labels.shape[1] / labels.shape[0] - width / height) > 0.05 * width / height:
        raise InputError(
            f"the materials are {labels.shape[1]}x{labels.shape[0]}, {sketch} is {width}x{height}: "
            "they must have the same shape"
        )
    return fit_labels(labels, width, height) * (paper[..., 3] > 0)


class Renderer:
    """Renders sketches; a model stays loaded while consecutive sketches use it."""

    def __init__(self, settings: Render, models: Models):
        self.settings, self.models = settings, models
        self._model: Img2Img | None = None
        self._loaded: tuple = ()

    def render(self, sketch: Sketch, output: Path) -> None:
        """Render one sketch to a file with embedded settings. Raises InputError or ModelError."""
        settings, about = self.settings, sketch.about
        name = settings.model or str(about.get("model", "painter"))
        card = self.models.expected(name)
        own = {"steps": finest(card.default_steps, card.steps), "strength": card.default_strength}
        params = PictureParams.from_dict(own | about, name).asked(settings)
        check_steps(card, params.steps)  # before loading anything
        load = self.loader(name, about, max(sketch.paper.shape[:2]))
        model = self.load(load) if load is not None else self._model
        assert model is not None
        frame = model.render(params.request(sketch.paper, materials=sketch.materials))
        made = {
            **params.as_dict(),
            "model": name,
            "weights": model.card.weights_hash,
            "dtype": model.card.dtype,
        }
        write_png(output, frame.picture, made, overwrite=settings.overwrite)
        if params.look not in model.card.looks:
            print(f"flowbrush: {model.card.name} has no look {params.look!r} and ignored it", file=sys.stderr)
        for note in frame.notes:
            print(f"flowbrush: {note}", file=sys.stderr)

    def loader(self, name: str, about: dict, side_px: int) -> Load | None:
        """Loader of the model for a sketch; None if it is already loaded. Raises ModelError."""
        extras: dict = {"side_px": side_px, **self.settings.extras()}
        dtype = about.get("dtype")
        if dtype in DTYPES and "dtype" not in extras:
            if self.models.has_dtype(dtype, self.settings.device):
                extras["dtype"] = dtype
            else:
                print(
                    f"flowbrush: saved with {dtype}, which this CPU lacks; the output will differ",
                    file=sys.stderr,
                )
        wanted = (name, extras.get("dtype"), extras["side_px"])
        if wanted == self._loaded:
            return None
        load = self.models.loader(name, self.settings.device, progress=Progress(), **extras)
        self._loaded = wanted
        return load

    def load(self, load: Load) -> Img2Img:
        if self._model is not None:
            self._model.close()
        self._model = load()
        return self._model
