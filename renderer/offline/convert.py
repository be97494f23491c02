"""Offline video conversion: runs every frame through a model, keeps the sound, resumes an interrupted run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.api import (
    MAX_SIZE_PX,
    MIN_SIZE_PX,
    SIZE_MULTIPLE_PX,
    Img2Img,
    ModelError,
    Rect,
    check_size,
)
from renderer.actions import InputError
from renderer.cli.live_settings import Convert
from renderer.files.outputs import FILMS, check_free, writable, wrote
from renderer.offline.keyframes import Keyframes, read_keyframes
from renderer.offline.sound import Sound, write_with_sound
from renderer.picture_params import PictureParams
from renderer.recording.container import VideoFile
from renderer.recording.encoder import FINE, Encoder, planar
from renderer.runtime.pacing import finest
from renderer.sources.flatten import Flatten, checked_flatten, flatten
from renderer.sources.geometry import Placement
from renderer.sources.readers.shot import Shot, SourceLost
from renderer.sources.readers.video import VideoReader

PART_FRAMES = 60
NOTE = "convert.json"  # file name, in the folder of parts
USUAL_SIDE = 512  # training size of the painter
NO_MATTER = ("output", "video", "overwrite", "keyframes")  # not in the settings hash


@dataclass(frozen=True)
class Conversion:
    """All inputs of a conversion. size: (width, height) in pixels. seconds: duration, if known."""

    settings: Convert
    size: tuple[int, int]
    seconds: float | None
    keyframes: Keyframes
    params: PictureParams
    flatten: Flatten = "off"

    @property
    def folder(self) -> Path:
        output = self.settings.output
        return output.with_name(output.name + ".parts")

    def fingerprint(self) -> str:
        """Hash of video, settings and keyframes; only parts with the same hash are resumed."""
        told = {name: str(value) for name, value in vars(self.settings).items() if name not in NO_MATTER}
        tracks = {name: [list(key) for key in track] for name, track in self.keyframes.tracks.items()}
        text = json.dumps([told, self.size, self.params.as_dict(), tracks], sort_keys=True)
        return hashlib.sha256(text.encode() + digest_of(self.settings.video)).hexdigest()


def digest_of(path: Path) -> bytes:
    """Hash of a file's length, beginning and end, which is fast for files of gigabytes."""
    length, end_bytes = path.stat().st_size, 1 << 20
    with path.open("rb") as file:
        begin = file.read(end_bytes)
        file.seek(max(0, length - end_bytes))
        return hashlib.sha256(str(length).encode() + begin + file.read()).digest()


def plan(settings: Convert, card) -> Conversion:
    """Make the conversion for the options. card: the model's card. Raises InputError before any work."""
    if settings.output.suffix.lower() not in FILMS:
        raise InputError(f"{settings.output} must end in {' or '.join(FILMS)}")
    flattening = checked_flatten(settings.flatten)
    if not settings.video.is_file():
        raise InputError(f"there is no video {settings.video}")
    if settings.output.exists() and settings.output.resolve() == settings.video.resolve():
        raise InputError("the output is the video itself; name another")
    writable(settings.output, overwrite=settings.overwrite)
    keyframes = read_keyframes(settings.keyframes) if settings.keyframes is not None else Keyframes()
    try:
        reader = VideoReader(str(settings.video), name=settings.video.name)
        shot, seconds = reader.read(), reader.duration_s
        reader.close()
    except SourceLost as error:
        raise InputError(str(error)) from error
    if shot is None:
        raise InputError(f"there is no frame in {settings.video.name}")
    own = {"steps": finest(card.default_steps, card.steps), "strength": card.default_strength}
    params = PictureParams.from_dict(own, settings.model).asked(settings)
    size = paper_size(shot.size, settings.size)
    made = Conversion(settings, size, seconds, keyframes, params, flattening)
    check_folder(made.folder)
    return made


def paper_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """(width, height) of the paper for a video of this size, with the nearest valid aspect ratio."""
    longer = side or USUAL_SIDE
    scale = longer / max(size)
    width, height = (
        max(MIN_SIZE_PX, round(length * scale / SIZE_MULTIPLE_PX) * SIZE_MULTIPLE_PX) for length in size
    )
    try:
        check_size(height, width)
    except ModelError as error:
        raise InputError(
            f"--size {longer}: {error}; the longer side goes from {MIN_SIZE_PX} to {MAX_SIZE_PX}"
        ) from error
    return width, height


def run(settings: Convert, load: Callable[[], Img2Img], card) -> None:
    """Run the command with a progress bar. load: loads the model. card: its card. Raises InputError."""
    from rich.console import Console
    from rich.progress import Progress

    conversion = plan(settings, card)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("seconds of video", total=conversion.seconds)
        produce(conversion, load, lambda media_s: progress.update(task, completed=media_s))


def produce(
    conversion: Conversion, load: Callable[[], Img2Img], done: Callable[[float], None] = lambda media_s: None
) -> None:
    """Make the missing parts and join them. done: called with the position reached, in seconds."""
    output, folder = conversion.settings.output, conversion.folder
    try:
        prepare(folder, conversion.fingerprint())
        make_parts(conversion, load, done)
        join(conversion)
    except SourceLost as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path, fingerprint: str) -> None:
    """Create the folder of parts, or keep one with parts of the same conversion."""
    ours = {"flowbrush": fingerprint}
    if folder.exists():
        if check_folder(folder) == ours:
            return
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_text(folder / NOTE, json.dumps(ours))


def check_folder(folder: Path) -> dict:
    """Read the note of a folder of parts; empty without a folder.

    Raises InputError for any other folder, whose content is not changed."""
    if not folder.exists():
        return {}
    try:
        found = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "flowbrush" not in found:
        raise InputError(f"{folder} is in the way; move it, or name another output")
    return found


@dataclass(frozen=True)
class Part:
    """A finished part of the output. times_ms: times of its frames. last: it is the final part."""

    first: int
    times_ms: list[int]
    last: bool

    @property
    def end(self) -> int:
        return self.first + len(self.times_ms)


def part_files(conversion: Conversion, first: int) -> tuple[Path, Path, Path]:
    """Paths (video, note, last picture) of the part that begins with this frame."""
    stem = conversion.folder / f"part-{first:07}"
    return stem.with_suffix(".mkv"), stem.with_suffix(".json"), stem.with_suffix(".png")


def parts_there(conversion: Conversion) -> list[Part]:
    """Consecutive parts on the disk, from the first one to the first gap."""
    found, first = [], 0
    while True:
        video, note, picture = part_files(conversion, first)
        if not (video.exists() and note.exists() and picture.exists()):
            return found
        found.append(Part(**json.loads(note.read_text(encoding="utf-8"))))
        if found[-1].last:
            return found
        first = found[-1].end


def make_parts(conversion: Conversion, load: Callable[[], Img2Img], done: Callable[[float], None]) -> None:
    """Write all missing parts.

    Frames before them are decoded and skipped, so that the result is identical to an uninterrupted run."""
    parts = parts_there(conversion)
    if parts and parts[-1].last:
        return
    first = parts[-1].end if parts else 0
    before = read_picture(part_files(conversion, parts[-1].first)[2]) if parts else None
    settings = conversion.settings
    reader = VideoReader(str(settings.video), name=settings.video.name)
    model = load()
    try:
        shots = Shots(reader)
        for _ in range(first):
            shots.take()
        renderer = FrameRenderer(conversion, model, before)
        last_ms = parts[-1].times_ms[-1] if parts else -1
        while shots.next is not None:
            part = PartWriter(conversion, first)
            while shots.next is not None and len(part.times_ms) < PART_FRAMES:
                shot = shots.take()
                last_ms = max(last_ms + 1, round(shot.media_s * 1000))
                part.add(renderer.picture(shot), last_ms)
                done(shot.media_s)
            part.finish(last=shots.next is None)
            first += len(part.times_ms)
    finally:
        model.close()
        reader.close()


class Shots:
    """Frames of a video with one frame of lookahead. next: the next frame, or None at the end."""

    def __init__(self, reader: VideoReader):
        self._reader = reader
        self.next = reader.read()

    def take(self) -> Shot:
        if self.next is None:
            raise SourceLost(f"{self._reader.name} has fewer frames than it had")
        taken, self.next = self.next, self._reader.read()
        return taken


class FrameRenderer:
    """Renders the model's pictures for the frames of a video, in order."""

    def __init__(self, conversion: Conversion, model: Img2Img, before: np.ndarray | None):
        """before: (H, W, 3) uint8, the picture before the first frame, for feedback."""
        self._conversion, self._model, self._before = conversion, model, before
        self._made_from: tuple | None = None

    def picture(self, shot: Shot) -> np.ndarray:
        """Render one frame. Returns (H, W, 3) uint8 RGB."""
        conversion = self._conversion
        settings, size = conversion.settings, conversion.size
        params, feedback = conversion.keyframes.at(shot.media_s, conversion.params, settings.feedback)
        rgb, _ = Placement("cover").place(shot, size)
        rgb, materials = flatten(rgb, conversion.flatten)
        if feedback and self._before is not None:
            rgb, materials = cv2.addWeighted(rgb, 1 - feedback, self._before, feedback, 0), None
        paper = np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))
        made_from = (params, paper.tobytes())
        if made_from != self._made_from or self._before is None:
            paper.flags.writeable = False
            request = params.request(paper, materials=materials, dirty=Rect(0, 0, *size))
            self._before, self._made_from = self._model.render(request).picture, made_from
        return self._before


class PartWriter:
    """Encodes one part. Its note is written last, so that a part with a note is complete."""

    def __init__(self, conversion: Conversion, first: int):
        self.times_ms: list[int] = []
        self._first = first
        self._video, self._note, self._state = part_files(conversion, first)
        self._temporary = self._video.with_name("." + self._video.name)
        width, height = conversion.size
        self._encoder = Encoder((width, height), FINE)
        self._film = VideoFile(self._temporary, self._encoder.stream)
        self._picture: np.ndarray | None = None

    def add(self, picture: np.ndarray, ms: int) -> None:
        """Append a picture, (H, W, 3) uint8, shown at this time."""
        self._picture = picture
        self.times_ms.append(ms)
        for packet in self._encoder.encode(planar(np.ascontiguousarray(picture)), ms):
            self._film.add(packet)

    def finish(self, *, last: bool) -> None:
        for packet in self._encoder.flush():
            self._film.add(packet)
        self._film.finish()
        self._encoder.close()
        assert self._picture is not None, "a part has a frame at least"
        write_picture(self._state, self._picture)
        os.replace(self._temporary, self._video)
        note = {"first": self._first, "times_ms": self.times_ms, "last": last}
        write_text(self._note, json.dumps(note))


def write_text(path: Path, text: str) -> None:
    temporary = path.with_name("." + path.name)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_picture(path: Path, rgb: np.ndarray) -> None:
    data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    temporary = path.with_name("." + path.name)
    temporary.write_bytes(data)
    os.replace(temporary, path)


def read_picture(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError(0, f"{path} is damaged; remove the folder it is in")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def join(conversion: Conversion) -> None:
    """Join the parts and the video's sound to the output, via a temporary file."""
    output = conversion.settings.output
    temporary = conversion.folder / f"whole{output.suffix.lower()}"
    parts = [(part_files(conversion, part.first)[0], part.times_ms) for part in parts_there(conversion)]
    with Sound(conversion.settings.video) as sound:
        write_with_sound(temporary, parts, sound)
    check_free(output, overwrite=conversion.settings.overwrite)
    os.replace(temporary, output)
    wrote(output)
