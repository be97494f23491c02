"""Commands of keys and buttons that do not paint: views, save, rewind, recording. See `actions.Command`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from models.api import Frame
from renderer.actions import Change, Command, Event, InputError
from renderer.canvas.canvas import Canvas
from renderer.canvas.open_raster import document_bytes
from renderer.files.outputs import reserve
from renderer.files.png import png_bytes
from renderer.live import COMMANDS as LIVE_COMMANDS
from renderer.live import Live
from renderer.model_switcher import ModelSwitcher
from renderer.persistence import Persistence
from renderer.picture_params import PictureParams
from renderer.rewind import Rewind
from renderer.scene import VIEWS, Scene
from renderer.ui.window import Window

KEEP_DEMO = tuple(  # commands that do not stop the demo
    Command(name) for name in ("record", "keep", "save", "hud", *LIVE_COMMANDS)
)


class Painting(Protocol):
    """Interface of App that commands use. Its fields are read, never assigned."""

    window: Window
    scene: Scene
    canvas: Canvas
    switcher: ModelSwitcher
    rewind: Rewind
    persistence: Persistence
    live: Live
    save_folder: Path

    @property
    def picture(self) -> Frame | None: ...

    def apply(self, event: Event) -> None: ...

    def quit(self) -> None: ...


def run(painting: Painting, command: Command, time_s: float) -> None:
    """Run one command. Raises InputError if it is not possible."""
    scene, persistence = painting.scene, painting.persistence
    match command.name:
        case "quit":
            painting.quit()
        case "view":
            scene.view = VIEWS[(VIEWS.index(scene.view) + 1) % len(VIEWS)]
        case "full":
            scene.full = not scene.full
            scene.view = "picture" if scene.full else "side"
            painting.window.full_screen()
        case "back":
            go_back(painting, time_s)
        case "hud":
            scene.show_hud = not scene.show_hud
        case "help":
            scene.show_help = not scene.show_help
        case "prompt" | "color" | "open":
            painting.window.ask(command.name)
        case "model":
            name = scene.params.model
            at = scene.models.index(name) if name in scene.models else -1
            painting.apply(Event(Change("model", scene.models[(at + 1) % len(scene.models)]), time_s))
        case "dice":
            painting.apply(Event(Change("seed", random.randrange(1 << 31)), time_s))
        case "pick" if isinstance(command.value, tuple):
            paint = painting.canvas.paint_at(*command.value)
            if paint is not None:
                painting.window.tools.take(*paint)
        case "load":
            persistence.open_image(Path(str(command.value)))
        case "save":
            save(painting)
        case "record" | "keep":
            capture = persistence.open_recording()
            if capture is None:
                raise InputError("nothing can be recorded here")
            capture.toggle_recording() if command.name == "record" else capture.keep_last_seconds()
        case name if name in LIVE_COMMANDS:
            painting.live.run(name)
        case "restore":
            persistence.restore_lost()
        case name if name == "rewind" or name.startswith("rewind."):
            painting.rewind.run(name.removeprefix("rewind").removeprefix("."), command.value, time_s)


def go_back(painting: Painting, time_s: float) -> None:
    """Handle Escape: close help, cancel a load, leave full screen or the view; the first that applies."""
    scene = painting.scene
    if scene.show_help:
        scene.show_help = False
    elif painting.switcher.give_up(time_s):
        return
    elif scene.full:
        run(painting, Command("full"), time_s)
    elif scene.view == "picture":
        scene.view = "side"


def save(painting: Painting) -> None:
    """Save picture and paper as PNG files with embedded settings, from which `render` makes the picture.

    Several layers are also saved as an OpenRaster file. Without a picture only the paper is saved. Raises
    InputError if there is neither.
    """
    scene, canvas, frame = painting.scene, painting.canvas, painting.picture
    ready = frame is not None and scene.card is not None
    if not ready and canvas.blank:
        raise InputError("there is nothing to save yet")
    name = time.strftime("flowbrush-%Y%m%d-%H%M%S")
    endings = [".png"] * ready + ["-paper.png"] + [".ora"] * (len(canvas.stack.layers) > 1)
    *picture, paper = reserve(painting.save_folder, name, endings)[: 1 + ready]
    files: dict[Path, Callable[[], bytes]] = {}
    if frame is not None and scene.card is not None:
        request, card = frame.request, scene.card
        about = PictureParams.of(request, card.name).as_dict()
        about |= {"model": card.name, "weights": card.weights_hash, "dtype": card.dtype}
        files[picture[0]] = partial(png_bytes, frame.picture, about)
        files[paper] = partial(png_bytes, request.paper, about, request.materials)
        done = f"saved {picture[0]}"
    else:
        about = scene.params.as_dict()
        files[paper] = partial(png_bytes, canvas.snapshot(), about, canvas.snapshot_materials())
        done = f"saved {paper}; there is no picture yet"
    if len(canvas.stack.layers) > 1:
        document = paper.with_name(paper.name.replace("-paper.png", ".ora"))
        files[document] = partial(document_bytes, canvas.stack.copy(), about)
    painting.persistence.save_files(files, done)
