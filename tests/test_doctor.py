"""Tests of the `doctor` report on simulated machines."""

from __future__ import annotations

import pytest

from models import doctor
from models.api import Frame, ModelCard, ModelError, Request


class Model:
    """Stand-in painter whose chosen frames fail, on a GPU where graph capture may fail."""

    def __init__(self, device: str, failures: dict[int, Exception], why: str = ""):
        self.card = ModelCard("painter", device=device, why_not_faster=why)
        self.failures, self.frames, self.rests = failures, 0, 2

    def render(self, request: Request, **_) -> Frame:
        self.frames += 1
        if self.frames in self.failures:
            raise self.failures[self.frames]
        return Frame(request, request.paper[..., :3])

    def rest(self) -> bool:
        self.rests -= 1
        return self.rests > 0


@pytest.mark.parametrize(
    ("model", "eager", "graph"),
    [
        (Model("cpu", {}), "made in", None),
        (Model("cuda", {}), "made in", "made in"),
        (Model("cuda", {}, "no CUDA graph: not permitted"), "made in", "off: no CUDA graph: not permitted"),
        (Model("cuda", {2: RuntimeError("illegal address\nand more")}), "made in", "failed: illegal address"),
        (Model("cuda", {1: RuntimeError()}), "failed: RuntimeError", "made in"),
        (Model("cpu", {1: ModelError("no number")}), "failed: no number", None),
    ],
)
def test_each_path_is_tried_and_what_failed_is_said(model, eager, graph):
    found = doctor.tried(model)
    assert found["eager"].startswith(eager)
    assert found.get("cuda_graph", "none").startswith(graph or "none")
    assert model.card.device == "cpu" or model.rests == 0
