"""Messages between a painter and a served model: numbers and compressed patches, validated on arrival.

Needs numpy, PyAV and OpenCV but not torch, since the client imports it.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from models.api import LOOKS, MATERIALS, MAX_PROMPT_CHARS, MOOD_AXES, ModelError, Rect, Request, check_size

PLANES = 5  # channels of a paper: red, green, blue, alpha, material
LAST_NUMBER = 2**63 - 1
LAST_PLACE = 2**31 - 1
CODECS = ("lossless", "jpeg", "webp")
LOSSY = {"jpeg": (".jpg", cv2.IMWRITE_JPEG_QUALITY), "webp": (".webp", cv2.IMWRITE_WEBP_QUALITY)}
FFV1_LEAST_PX = 16  # minimum side for FFV1; smaller patches use zlib


@dataclass(frozen=True)
class Sent:
    """A render request as it is transmitted.

    number: of the request, from 1. base: number of the paper that `patch` changes, 0 for a blank one.
    size: (width, height). rect: area that the patch covers. drawing: False for a refinement.
    """

    number: int
    base: int
    size: tuple[int, int]
    rect: tuple[int, int, int, int]
    patch: bytes
    drawing: bool
    steps: int
    strength: float
    seed: int
    prompt: str
    mood: tuple[float, ...]
    origin: tuple[int, int]
    lora_scale: float
    look: str
    material_prompt: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def planes_of(request: Request) -> np.ndarray:
    """Return (H, W, 5) uint8: the paper and its materials, 0 where they are unknown."""
    height, width = request.paper.shape[:2]
    made = np.zeros((height, width, PLANES), np.uint8)
    made[..., :4] = request.paper
    if request.materials is not None:
        made[..., 4] = request.materials
    return made


def changed_box(before: np.ndarray, after: np.ndarray) -> Rect:
    """Return the bounding box of all differences between two arrays, (H, W, C) each."""
    differs = before != after
    rows = np.flatnonzero(differs.any((1, 2)))
    if not len(rows):
        return Rect()
    columns = np.flatnonzero(differs[rows[0] : rows[-1] + 1].any((0, 2)))
    return Rect(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def packed(before: np.ndarray, after: np.ndarray) -> bytes:
    """Compress the difference of two (h, w, C) uint8 arrays, plane by plane; mostly zeros for a stroke."""
    difference = np.ascontiguousarray((after - before).transpose(2, 0, 1))
    coder = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return coder.compress(difference.tobytes()) + coder.flush()


def unpacked(before: np.ndarray, data: bytes) -> np.ndarray:
    """Invert `packed`: return its `after`. Raises ModelError for data of the wrong length."""
    height, width, planes = before.shape
    count = height * width * planes
    decoder = zlib.decompressobj()
    try:
        raw = decoder.decompress(data, count + 1)  # bounds the output size, whatever the data
    except zlib.error as error:
        raise ModelError(f"a patch cannot be unpacked: {error}") from error
    if len(raw) != count:
        raise ModelError(f"a patch holds {len(raw)} bytes and needs {count}")
    return before + np.frombuffer(raw, np.uint8).reshape(planes, height, width).transpose(1, 2, 0)


def sent_of(request: Request, number: int, base: int, before: np.ndarray, planes: np.ndarray) -> Sent:
    """Build the message of a request. before: planes of the paper `base`. planes: planes of the request."""
    rect = changed_box(before, planes)
    height, width = planes.shape[:2]
    patch = b"" if rect.empty else packed(before[rect.slices], planes[rect.slices])
    kept = ("strength", "lora_scale", "prompt", "look", "material_prompt")
    return Sent(
        number,
        base,
        (width, height),
        (rect.x0, rect.y0, rect.x1, rect.y1),
        patch,
        not request.dirty.empty,
        steps=int(request.steps),
        seed=int(request.seed),
        mood=tuple(map(float, request.mood)),
        origin=(int(request.origin[0]), int(request.origin[1])),
        **{name: getattr(request, name) for name in kept},
    )


def checked(fields: Any) -> Sent:
    """Validate types, shapes and ranges of a client's fields. Raises ModelError with one line."""
    if not isinstance(fields, dict) or set(fields) != set(Sent.__dataclass_fields__):
        raise ModelError("a request needs exactly these fields: " + ", ".join(Sent.__dataclass_fields__))
    whole("number", fields["number"], 1, LAST_NUMBER)
    whole("base", fields["base"], 0, LAST_NUMBER)
    width, height = numbers("size", fields["size"], 2, int)
    check_size(height, width)
    x0, y0, x1, y1 = numbers("rect", fields["rect"], 4, int)
    if (x0, y0, x1, y1) != (0, 0, 0, 0) and not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ModelError(f"rect {(x0, y0, x1, y1)} is not inside a paper of {width}x{height}")
    patch = fields["patch"]
    if type(patch) is not bytes or len(patch) > 1024 + 2 * (x1 - x0) * (y1 - y0) * PLANES:
        raise ModelError("a patch must be bytes, and no longer than what it unpacks to")
    for name in ("drawing", "material_prompt"):
        if type(fields[name]) is not bool:
            raise ModelError(f"{name} must be true or false")
    whole("steps", fields["steps"], 1, 1000)
    whole("seed", fields["seed"], 0, LAST_NUMBER)
    real("strength", fields["strength"], 0, 1)
    real("lora_scale", fields["lora_scale"], 0, 2)
    prompt = fields["prompt"]
    if type(prompt) is not str or len(prompt) > MAX_PROMPT_CHARS:
        raise ModelError(f"a prompt must be text of at most {MAX_PROMPT_CHARS} characters")
    if type(fields["look"]) is not str or fields["look"] not in LOOKS:
        raise ModelError(f"look must be one of {', '.join(LOOKS)}")
    for level in numbers("mood", fields["mood"], len(MOOD_AXES), float):
        real("mood", level, 0, 1)
    for place in numbers("origin", fields["origin"], 2, int):
        whole("origin", place, -LAST_PLACE, LAST_PLACE)
    return Sent(**fields)


def whole(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ModelError(f"{name} must be a whole number from {least} to {most}")


def real(name: str, value: Any, least: float, most: float) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
        raise ModelError(f"{name} must be a number from {least} to {most}")


def numbers(name: str, values: Any, count: int, kind: type) -> tuple:
    if type(values) is not tuple or len(values) != count or any(type(value) is not kind for value in values):
        raise ModelError(f"{name} must be {count} numbers")
    return values


def paper_of(before: np.ndarray, sent: Sent) -> np.ndarray:
    """Apply the patch to the planes `before`: a new (H, W, 5) uint8 array. Raises ModelError."""
    planes, rect = before.copy(), Rect(*sent.rect)
    if not rect.empty:
        planes[rect.slices] = unpacked(before[rect.slices], sent.patch)
        if planes[rect.slices][..., 4].max() > len(MATERIALS):
            raise ModelError(f"materials must be 0 to {len(MATERIALS)}")
    return planes


def request_of(sent: Sent, planes: np.ndarray, dirty: Rect) -> Request:
    paper = np.ascontiguousarray(planes[..., :4])
    materials = np.ascontiguousarray(planes[..., 4]) if planes[..., 4].any() else None
    kept = ("steps", "strength", "seed", "prompt", "mood", "origin", "lora_scale", "look", "material_prompt")
    fields = {name: getattr(sent, name) for name in kept}
    return Request(paper, sent.number, 0, dirty, materials=materials, **fields)


# Pictures


def encoded(before: np.ndarray, after: np.ndarray, codec: str, quality: int) -> bytes:
    """Encode a patch of a picture, (h, w, 3) uint8. `before` is the current content, used by `lossless` only.

    Lossless stores the difference as one FFV1 picture with a range coder: 70 % of the size with zlib.
    """
    if codec != "lossless":
        suffix, flag = {
            "jpeg": (".jpg", cv2.IMWRITE_JPEG_QUALITY),
            "webp": (".webp", cv2.IMWRITE_WEBP_QUALITY),
        }[codec]
        return cv2.imencode(suffix, cv2.cvtColor(after, cv2.COLOR_RGB2BGR), [flag, quality])[1].tobytes()
    height, width = after.shape[:2]
    if min(height, width) < FFV1_LEAST_PX:
        return packed(before, after)
    coder = av.CodecContext.create("ffv1", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = width, height, "bgr0", Fraction(1, 25)
    coder.options = {"level": "1", "coder": "range_def"}
    difference = np.ascontiguousarray(after - before + np.uint8(128))
    frame = av.VideoFrame.from_ndarray(difference, format="rgb24").reformat(format="bgr0")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*coder.encode(frame), *coder.encode(None)))


def decoded(before: np.ndarray, data: bytes, codec: str) -> np.ndarray:
    """Invert `encoded`: return its `after`, (h, w, 3) uint8, exact for the lossless codec."""
    if codec != "lossless":
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if found is None or found.shape != before.shape:
            raise ModelError("the server sent a picture that cannot be decoded")
        return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    height, width = before.shape[:2]
    if min(height, width) < FFV1_LEAST_PX:
        return unpacked(before, data)
    coder = av.CodecContext.create("ffv1", "r")
    coder.width, coder.height, coder.pix_fmt = width, height, "bgr0"
    (frame,) = [*coder.decode(av.Packet(data)), *coder.decode(None)]
    return before + frame.reformat(format="rgb24").to_ndarray() - np.uint8(128)
