"""Read and write OpenRaster files (.ora), which Krita, MyPaint and GIMP can open.

The format is a zip of `mimetype`, `stack.xml`, `mergedimage.png`, a thumbnail and one PNG per layer
(openraster.org). These files also contain `flowbrush/document.json` (settings of the picture and of the
layers) and `flowbrush/materials-N.png` (8-bit, one channel), which other programs ignore.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import cast
from xml.etree import ElementTree

import numpy as np

from renderer.actions import InputError
from renderer.canvas.layers import BLENDS, MOST_LAYERS, Blend, Layer, LayerSettings, LayerStack
from renderer.canvas.materials import from_colors
from renderer.files.images import check_pixels, decode, fit, fit_labels, nearest_size, read_labels, resized
from renderer.files.png import png_bytes

MIMETYPE = b"image/openraster"
OPERATORS = {
    "normal": "svg:src-over",
    "multiply": "svg:multiply",
    "screen": "svg:screen",
    "overlay": "svg:overlay",
}
THUMBNAIL_PX = 256
MOST_ENTRY_BYTES = 256 << 20  # a small zip can declare terabytes of content
MOST_XML_BYTES = 1 << 20
OURS = "flowbrush/document.json"


@dataclass
class Document:
    """An OpenRaster document. stack: the layers. about: picture settings, empty for other programs' files."""

    stack: LayerStack
    about: dict = field(default_factory=dict)


def is_open_raster(data: bytes) -> bool:
    return data[:4] == b"PK\x03\x04" and MIMETYPE in data[:100]


def document_bytes(stack: LayerStack, about: dict | None = None) -> bytes:
    """Encode layers as the bytes of an OpenRaster file. about: settings of the picture."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:  # PNGs are already compressed
        archive.writestr("mimetype", MIMETYPE)
        whole = stack.whole
        image = ElementTree.Element("image", version="0.0.5", w=str(whole.width), h=str(whole.height))
        group = ElementTree.SubElement(image, "stack", name="root")
        own = []
        for number, layer in reversed(list(enumerate(stack.layers))):
            settings = layer.settings
            source = f"data/layer-{number}.png"
            ElementTree.SubElement(
                group, "layer", attributes_of(layer, source, selected=number == stack.active)
            )
            archive.writestr(source, png_bytes(layer.pixels))
            labels = f"flowbrush/materials-{number}.png"
            archive.writestr(labels, png_bytes(layer.materials))
            own.append({"src": source, "materials": labels, "reference": settings.reference})
        archive.writestr("stack.xml", ElementTree.tostring(image, "utf-8", xml_declaration=True))
        archive.writestr(OURS, json.dumps({"layers": own, "about": about or {}}, sort_keys=True))
        merged = np.ascontiguousarray(stack.pixels)
        scale = THUMBNAIL_PX / max(whole.width, whole.height)
        small = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
        archive.writestr("Thumbnails/thumbnail.png", png_bytes(resized(merged, small)))
        archive.writestr("mergedimage.png", png_bytes(merged))
    return made.getvalue()


def attributes_of(layer: Layer, source: str, *, selected: bool) -> dict[str, str]:
    settings = layer.settings
    found = {
        "name": settings.name,
        "src": source,
        "x": "0",
        "y": "0",
        "opacity": f"{settings.opacity:g}",
        "visibility": "visible" if settings.visible else "hidden",
        "composite-op": OPERATORS[settings.blend],
    }
    flags = {"edit-locked": settings.locked, "alpha-preserve": settings.alpha_lock, "selected": selected}
    return found | {name: "true" for name, on in flags.items() if on}


def read_document(data: bytes, size: tuple[int, int] | None = None) -> Document:
    """Decode the layers of an OpenRaster file, at this size (width, height) in pixels or at the file's own.

    Sizes that are not valid for a canvas are scaled; groups are replaced by their layers; unknown blend
    modes are read as normal. Raises InputError for other or damaged files.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive, size)
    except InputError:
        raise
    except Exception as error:  # zip, XML and number parsers: a damaged file can raise almost anything
        raise InputError(f"this OpenRaster file is damaged and cannot be read: {error}") from error


def merged_of(data: bytes) -> np.ndarray:
    """(H, W, 4) uint8: the merged image of the file's layers."""
    return read_document(data).stack.pixels


def _read(archive: zipfile.ZipFile, size: tuple[int, int] | None) -> Document:
    xml = _entry(archive, "stack.xml", MOST_XML_BYTES)
    if b"<!" in xml.replace(b"<!--", b""):  # XML entities could expand without limit
        raise InputError("this OpenRaster file declares XML entities, which are not read")
    image = ElementTree.fromstring(xml)
    width, height = int(image.get("w", "")), int(image.get("h", ""))
    if width < 1 or height < 1:
        raise InputError("this OpenRaster file has no size")
    check_pixels(width, height)
    target = size or nearest_size(width, height)
    own = _own(archive)
    found = [item for group in image.iter("stack") if group is image.find("stack") for item in _flat(group)]
    if not found:
        raise InputError("this OpenRaster file holds no layers")
    if len(found) > MOST_LAYERS:
        raise InputError(f"this OpenRaster file holds {len(found)} layers; {MOST_LAYERS} are the most")
    layers, active = [], 0
    for element, opacity, visible in reversed(found):
        if element.get("selected") == "true":
            active = len(layers)
        layers.append(_layer(archive, element, (width, height), target, own, opacity, visible))
    return Document(
        LayerStack(layers, active), own.get("about", {}) if isinstance(own.get("about"), dict) else {}
    )


def _flat(
    group: ElementTree.Element, opacity: float = 1.0, visible: bool = True
) -> list[tuple[ElementTree.Element, float, bool]]:
    """(layer, opacity, visible) of all nested layers, top first."""
    found = []
    for item in group:
        shown = visible and item.get("visibility", "visible") == "visible"
        level = opacity * min(1.0, max(0.0, float(item.get("opacity", "1"))))
        if item.tag == "stack":
            found += _flat(item, level, shown)
        elif item.tag == "layer":
            found.append((item, level, shown))
    return found


def _layer(
    archive: zipfile.ZipFile,
    element: ElementTree.Element,
    own_size: tuple[int, int],
    target: tuple[int, int],
    own: dict,
    opacity: float,
    visible: bool,
) -> Layer:
    source = element.get("src", "")
    part = decode(_entry(archive, source))
    pixels = placed(part, int(element.get("x", "0")), int(element.get("y", "0")), own_size)
    extra = next((one for one in own.get("layers", []) if one.get("src") == source), {})
    labels = from_colors(pixels)
    if extra.get("materials") in archive.namelist():
        read = read_labels(_entry(archive, extra["materials"]))
        labels = read if read.shape == pixels.shape[:2] else labels
    pixels = np.ascontiguousarray(fit(pixels, *target))
    labels = np.ascontiguousarray(fit_labels(labels, *target)) * (pixels[..., 3] > 0)
    operator = element.get("composite-op", "svg:src-over")
    blend = next((name for name in BLENDS if OPERATORS[name] == operator), "normal")
    settings = LayerSettings(
        name=" ".join(element.get("name", "").split())[:80] or "Layer",
        visible=visible,
        locked=element.get("edit-locked") == "true",
        opacity=round(opacity, 3),
        blend=cast(Blend, blend),
        alpha_lock=element.get("alpha-preserve") == "true",
        reference=extra.get("reference") is True,
    )
    return Layer(pixels, labels, settings)


def placed(part: np.ndarray, x: int, y: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 4) uint8 of this size (width, height) with the part placed at (x, y) and cropped to the size."""
    made = np.zeros((size[1], size[0], 4), np.uint8)
    rows, columns = part.shape[:2]
    left, top, right, low = max(0, x), max(0, y), min(size[0], x + columns), min(size[1], y + rows)
    if right > left and low > top:
        made[top:low, left:right] = part[top - y : low - y, left - x : right - x]
    return made


def _own(archive: zipfile.ZipFile) -> dict:
    if OURS not in archive.namelist():
        return {}
    found = json.loads(_entry(archive, OURS, MOST_XML_BYTES))
    return found if isinstance(found, dict) else {}


def _entry(archive: zipfile.ZipFile, name: str, most: int = MOST_ENTRY_BYTES) -> bytes:
    if archive.getinfo(name).file_size > most:
        raise InputError(f"{name} in this OpenRaster file is over {most >> 20} MiB")
    return archive.read(name)
