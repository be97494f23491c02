"""One model in the place of another: the load behind it, giving that up, and the settings of each."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from models.api import ModelCard
from renderer.actions import Change, Event
from renderer.runtime.load_progress import Progress

if TYPE_CHECKING:
    from renderer.app import App

OWN = ("steps", "strength")  # each model has its own, unless they were asked for


def asked_of(options) -> dict:
    """What options ask for by name and value, in place of a model's own: of those, what is not None."""
    return {name: getattr(options, name) for name in OWN if getattr(options, name) is not None}


def load(app: App, name: str) -> None:
    """Have a model loaded. Raises ModelError for one that there is not."""
    progress = Progress()
    app.engine.load(app.load(name, progress), name, progress)


def give_up(app: App, time_s: float) -> bool:
    """Stop what is being loaded, or forget why a load failed. Returns whether there was either."""
    engine = app.engine
    if engine.loading:
        engine.cancel()
        app.messages.say(f"{app.params.model} was given up; {engine.name} goes on")
    elif engine.error and engine.state == "ready":
        engine.error = ""
    else:
        return False
    return stay(app, time_s)


def stay(app: App, time_s: float) -> bool:
    """The model that serves is the one that is asked for."""
    if app.engine.name:
        write(app, "model", app.engine.name, time_s)
    return True


def welcome(app: App) -> None:
    """A model is there that was not before: it begins with the paper as it is, blank paper too."""
    engine, card = app.engine, app.engine.card
    if engine.error and engine.state == "ready" and not engine.loading and app.params.model != engine.name:
        stay(app, time.monotonic())  # it can be asked for again
    if card is None or card is app.scene.card:
        return
    app.scene.card = card
    app.began_anew()
    gc.freeze()  # what the libraries brought is never looked through again: 140 ms of a tick
    if app.meanwhile or engine.name in ("", app.params.model):
        adopt(app, card)
    if app.meanwhile:
        app.meanwhile = ""
        load(app, app.params.model)


def adopt(app: App, card: ModelCard) -> None:
    """Take the model's own settings, except for those that were asked for, as near as it comes to them."""
    for name in OWN:
        own = getattr(card, f"default_{name}")
        value = app.asked.get(name, own)
        write(app, name, within(app, value) if name == "steps" else value, time.monotonic())


def within(app: App, steps: int) -> int:
    """The number of steps nearest to this one that the model takes; another one is told of."""
    card = app.scene.card
    least, most = card.steps[0], card.steps[-1]
    nearest = min(most, max(least, steps))
    if nearest != steps:
        app.messages.say(f"{card.name} takes {least} to {most} steps, not {steps}: {nearest} will be taken")
    return nearest


def write(app: App, name: str, value, time_s: float) -> None:
    """Set what nobody asked for, so that the log holds it and it can be asked for otherwise."""
    if getattr(app.params, name) == value:
        return
    app.params = app.scene.params = replace(app.params, **{name: value})
    app.persistence.event(Event(Change(name, value), time_s), app.canvas)
    app.dirty(app.canvas.whole, time_s)
