"""Compositor: combines paper and picture to video frames, without the main loop."""

from __future__ import annotations

import cv2
import numpy as np

from renderer.canvas.canvas import Canvas
from renderer.canvas.wet_ink import WetInk
from renderer.picture_params import PictureParams
from renderer.runtime.latency import RunStatistics
from renderer.scene import Scene
from renderer.ui.headless import Headless
from renderer.ui.view.panes import ivory, over


class Compositor:
    """Composes frames in one layout, for one canvas."""

    def __init__(self, layout: str, canvas: Canvas, params: PictureParams):
        """layout: a name in outputs.LAYOUTS."""
        self.layout, self._canvas = layout, canvas
        self._blank = ivory(canvas.width, canvas.height)
        self._window: Headless | None = None
        if layout == "window":
            self._window = Headless()
            ink = WetInk(canvas.width, canvas.height)
            self._scene = Scene(canvas, ink, params, RunStatistics(), models=(params.model,), show_hud=False)

    def compose(self, picture: np.ndarray, params: PictureParams) -> np.ndarray:
        """A frame, (H, W, 3) uint8, from the present canvas and the model's picture."""
        if self._window is not None:
            scene = self._scene
            scene.params, scene.picture, scene.picture_new = params, picture, True
            scene.changed = self._canvas.whole
            self._window.draw(scene, 0.0)
            return self._window.screen()
        if self.layout == "picture":
            return picture
        paper = over(self._blank, self._canvas.seen)
        return paper if self.layout == "paper" else cv2.hconcat([paper, picture])
