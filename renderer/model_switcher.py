"""Switching models: loads one in the background while another serves, and applies its default settings."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from models.api import Img2Img, ModelCard, ProgressCallback
from renderer.picture_params import PictureParams
from renderer.runtime.engine import Engine
from renderer.runtime.load_progress import Progress
from renderer.runtime.messages import Level, Messages
from renderer.scene import Scene

PER_MODEL = ("steps", "strength")  # settings with a default per model
LoadModel = Callable[[str, ProgressCallback], Callable[[], Img2Img]]
SetParam = Callable[[str, Any, float], None]  # (name, value, time): applies and logs a setting


def explicit_settings(options) -> dict[str, Any]:
    """Settings of PER_MODEL given on the command line; they override a model's defaults."""
    return {name: getattr(options, name) for name in PER_MODEL if getattr(options, name) is not None}


class ModelSwitcher:
    """Loads models by name, and applies card and settings of the one that begins to serve.

    explicit: settings of PER_MODEL that the user chose; they apply to every model. interim: name of the model
    that serves until the chosen one is loaded; empty afterwards, or if there is none.
    """

    def __init__(
        self,
        engine: Engine,
        scene: Scene,
        load_model: LoadModel,
        messages: Messages,
        set_param: SetParam,
        *,
        interim: str = "",
        explicit: Mapping[str, Any] | None = None,
    ):
        """load_model: (name, progress) -> function that loads the model; ModelError for an unknown name.

        interim: name of a model that serves until the chosen one is loaded; empty for none.
        """
        self.explicit = dict(explicit or {})
        self._engine, self._scene, self._messages = engine, scene, messages
        self.load_model, self._set_param = load_model, set_param
        self.interim = interim
        self._generation = 0  # generation of the engine adopted last
        self._froze = False

    def start(self) -> None:
        """Begin to load the first model."""
        self.load(self.interim or self._scene.params.model)

    def load(self, name: str) -> None:
        """Begin to load a model. Raises ModelError for an unknown name."""
        progress = Progress()
        self._engine.load(self.load_model(name, progress), name, progress)

    def give_up(self, time_s: float) -> bool:
        """Cancel the load in progress, or dismiss a failed one's error; returns whether there was one."""
        engine = self._engine
        if engine.loading:
            engine.cancel()
            name = self._scene.params.model
            self._messages.add(f"{name} was given up; {engine.name} goes on", Level.WARNING)
        elif engine.error and engine.state == "ready":
            engine.error = ""
        else:
            return False
        self._keep_serving_model(time_s)
        return True

    def poll(self, now_s: float) -> bool:
        """Adopt a model that has begun to serve. Returns whether there was one."""
        engine, params = self._engine, self._scene.params
        if engine.error and engine.state == "ready" and not engine.loading and params.model != engine.name:
            self._keep_serving_model(now_s)  # so that the failed model can be chosen again
        if self.up_to_date or engine.card is None:
            return False
        self._generation, self._scene.card = engine.generation, engine.card
        gc.freeze()  # exclude the libraries' objects from collection: scanning them took 140 ms of a tick
        self._froze = True
        if self.interim or engine.name in ("", params.model):
            self._apply_defaults(engine.card, now_s)
        if self.interim:
            self.interim = ""
            self.load(params.model)
        return True

    @property
    def up_to_date(self) -> bool:
        """Whether the serving model has been adopted."""
        return self._engine.generation == self._generation

    def within_card(self, name: str, params: PictureParams) -> PictureParams:
        """Remember that the user set this setting, and clamp the steps to what the serving model takes."""
        if name in PER_MODEL:
            self.explicit[name] = getattr(params, name)
        card = self._scene.card
        return (
            replace(params, steps=self._nearest_steps(card, params.steps))
            if card and name == "steps"
            else params
        )

    def close(self) -> None:
        """Undo `gc.freeze`; Triton complains of frozen objects at exit. Call it after Engine.close."""
        if self._froze:
            gc.unfreeze()
            self._froze = False

    def _keep_serving_model(self, time_s: float) -> None:
        if self._engine.name:
            self._set_param("model", self._engine.name, time_s)

    def _apply_defaults(self, card: ModelCard, time_s: float) -> None:
        steps = self.explicit.get("steps", card.default_steps)
        self._set_param("steps", self._nearest_steps(card, steps), time_s)
        self._set_param("strength", self.explicit.get("strength", card.default_strength), time_s)

    def _nearest_steps(self, card: ModelCard, steps: int) -> int:
        """The nearest number of steps that the model takes; adds a message if it differs."""
        least, most = card.steps[0], card.steps[-1]
        nearest = min(most, max(least, steps))
        if nearest != steps:
            text = f"{card.name} takes {least} to {most} steps, not {steps}: {nearest} will be taken"
            self._messages.add(text, Level.WARNING)
        return nearest
