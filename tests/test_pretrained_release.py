"""Closed models free their memory: weak references after gc.freeze, close and gc.collect."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from recorded_graph import record_graph
from small_flows import SAVERS
from small_models import painted, save_control, save_lora, save_sd, save_sdxl

from models.api import Request
from models.pretrained.loading import loader

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
FAMILIES = {"sd": partial(save_sd, tiny=True), "sdxl": save_sdxl, **SAVERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home, saved = tmp_path_factory.mktemp("models"), {}

    def make(name: str):
        if name not in saved:
            saved[name] = FAMILIES[name](home / name)
        return saved[name]

    return make


@pytest.fixture
def frozen():
    """Call gc.freeze on all live objects, as the window does when a model starts to serve."""

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    yield freeze
    gc.unfreeze()
    gc.collect()


def weights_of(model) -> list[weakref.ref]:
    """Weak references to every weight and buffer of every component."""
    parts = [part for part in model.family.pipe.components.values() if isinstance(part, torch.nn.Module)]
    parts.append(model.family.coder.vae)
    if getattr(model.family, "control", None) is not None:
        parts.append(model.family.control.network)
    return [weakref.ref(value) for part in parts for value in (*part.parameters(), *part.buffers())]


def alive(references: list[weakref.ref]) -> int:
    return sum(reference() is not None for reference in references)


def served(path, *, graphs: bool = False, **options) -> tuple[object, list[weakref.ref]]:
    """A model that has rendered pictures, with captured graphs if `graphs`, and references to its weights."""
    model = loader.load(str(path), loader.Options(device="cpu", dtype="float32", **options))
    if graphs:
        model.use_graphs(capture=record_graph)
    for prompt in ("a lake", "lake a", "a lake"):
        model.render(Request(painted(), prompt=prompt))
        while model.rest():
            pass
    return model, weights_of(model)


@pytest.mark.parametrize(
    ("name", "fuse"), [*((name, True) for name in FAMILIES), ("sd", False), ("flux", False)]
)
def test_a_closed_model_is_freed(folder, frozen, name, fuse):
    model, weights = served(folder(name), fuse=fuse, graphs=True)
    frozen()
    assert alive(weights) == len(weights) > 20
    model.close()
    del model
    gc.collect()
    assert alive(weights) == 0


@pytest.mark.parametrize("name", ["sd", "sd3", "zimage"])
def test_a_fused_model_that_nobody_closes_is_freed(folder, frozen, name):
    """Reference counting alone frees the model: there is no reference cycle."""
    model, weights = served(folder(name), fuse=True)
    frozen()
    del model
    assert alive(weights) == 0


def test_a_model_with_lora_and_controlnet_is_freed(tmp_path, frozen):
    path = save_control(save_sd(tmp_path / "sd"))
    model, weights = served(
        path, fuse=True, lora=(str(save_lora(path, tmp_path / "lora")),), control="scribble"
    )
    frozen()
    model.close()
    del model
    gc.collect()
    assert alive(weights) == 0


def test_an_offloaded_model_is_freed(folder, frozen):
    """accelerate's hooks keep each component's forward method, which refers back to the component."""
    model, weights = served(folder("sd"))
    model.family.pipe.enable_model_cpu_offload(device="cpu")
    model.render(Request(painted(), prompt="a lake"))
    frozen()
    model.close()
    del model
    gc.collect()
    assert alive(weights) == 0


def test_a_switch_through_every_family_and_back_ends_where_it_began(folder, frozen):
    """Each model is frozen while it serves, then closed before the next."""
    around = [*FAMILIES, "sd"]
    left = []
    for name in around:
        model, weights = served(folder(name), fuse=True)
        frozen()
        model.close()
        del model
        left.append((name, alive(weights)))
    assert left == [(name, 0) for name in around]
