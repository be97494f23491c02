"""Wishes that change no paint: views, help, save, quit. What changes the picture is asked for as a Change."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from renderer import model_switcher, rewind
from renderer.actions import Change, Command, Event, InputError, Paste
from renderer.files import png
from renderer.picture_params import PictureParams
from renderer.scene import VIEWS

if TYPE_CHECKING:
    from renderer.app import App

UNSEEN = tuple(Command(name) for name in ("record", "keep", "save", "hud"))  # a demo goes on beside these


def obey(app: App, command: Command, time_s: float) -> None:
    """Carry out one command. Raises InputError where it cannot be."""
    scene = app.scene
    match command.name:
        case "quit":
            app.running = False
        case "view":
            scene.view = VIEWS[(VIEWS.index(scene.view) + 1) % len(VIEWS)]
        case "full":
            scene.full = not scene.full
            scene.view = "picture" if scene.full else "side"
            app.window.full_screen()
        case "back":
            if scene.show_help:
                scene.show_help = False
            elif model_switcher.give_up(app, time_s):
                return
            elif scene.full:
                obey(app, Command("full"), time_s)
            elif scene.view == "picture":
                scene.view = "side"
        case "hud":
            scene.show_hud = not scene.show_hud
        case "help":
            scene.show_help = not scene.show_help
        case "prompt" | "color" | "open":
            app.window.ask(command.name)
        case "model":
            at = scene.models.index(app.params.model) if app.params.model in scene.models else -1
            app.apply(Event(Change("model", scene.models[(at + 1) % len(scene.models)]), time_s))
        case "dice":
            app.apply(Event(Change("seed", random.randrange(1 << 31)), time_s))
        case "pick":
            paint = app.canvas.paint_at(*command.value)
            if paint is not None:
                app.window.tools.take(*paint)
        case "load":
            app.apply(Event(Paste(png.read_bytes(Path(str(command.value)))), time_s))
        case "save":
            save(app)
        case "record" | "keep":
            capture = app.persistence.open()
            if capture is None:
                raise InputError("nothing can be recorded here")
            getattr(capture, command.name)()
        case "restore":
            restore(app)
        case name if name.startswith("rewind"):
            rewind.obey(app, name.removeprefix("rewind"), command.value, time_s)


def restore(app: App) -> None:
    """Bring back the paper of the painting that a crash ended; undo takes it away again."""
    if app.persistence.lost is None:
        raise InputError("no painting was left by a crash")
    app.persistence.restore(
        app.persistence.lost, app.params, (app.canvas.width, app.canvas.height), app.scene.models
    )
    app.persistence.lost, app.scene.offer = None, ""


def save(app: App) -> None:
    """Write picture and paper as PNG with the settings inside: `render` makes the same of the paper."""
    stem = app.save_folder / time.strftime("flowbrush-%Y%m%d-%H%M%S")
    if app.picture is None:  # what the hand made is kept, model or not
        if app.canvas.blank:
            raise InputError("there is nothing to save yet")
        paper = stem.with_name(stem.name + "-paper.png")
        png.write_png(paper, app.canvas.snapshot(), app.params.as_dict())
        app.messages.say(f"saved {paper}; there is no picture yet")
        return
    request, card = app.picture.request, app.engine.card
    about = PictureParams.of(request, card.name).as_dict()
    about |= {"model": card.name, "weights": card.weights_hash, "dtype": card.dtype}
    png.write_png(stem.with_suffix(".png"), app.picture.picture, about)
    png.write_png(stem.with_name(stem.name + "-paper.png"), request.paper, about)
    app.messages.say(f"saved {stem.with_suffix('.png')}")
