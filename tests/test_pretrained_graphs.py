"""Frames by captured graphs are byte-identical to eager frames, for every pretrained family."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
import torch
from recorded_graph import record_graph
from small_flows import SAVERS
from small_models import painted, save_sd, save_sdxl

from models.api import ModelError, Request
from models.device.cuda_graphs import NOT_YET
from models.pretrained.components.prompt_cache import PromptCache
from models.pretrained.loading import loader

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
FUSED = loader.Options(device="cpu", dtype="float32", fuse=True)
FAMILIES = {"sd": partial(save_sd, tiny=True), "sdxl": save_sdxl, **SAVERS}
# every value changes between calls: none may be baked into a graph
CALLS = [
    {"steps": 1, "strength": 0.6, "prompt": "a lake"},
    {"steps": 1, "strength": 0.9, "prompt": "lake a", "seed": 9},
    {"steps": 2, "strength": 0.9, "prompt": "a a lake user"},
    {"steps": 1, "strength": 0.6, "prompt": "a lake"},
]


class Captures:
    """Capture function that counts its calls."""

    def __init__(self):
        self.made = 0

    def __call__(self, function, inputs):
        self.made += 1
        return record_graph(function, inputs)

    def over(self, model):
        model.use_graphs(capture=self)
        return self


def picture(model, request: Request) -> np.ndarray:
    """Render a frame, then capture the missing graphs during the idle time after it."""
    made = model.render(request).picture
    while model.rest():
        pass
    return made


def pictures(model) -> list[np.ndarray]:
    return [picture(model, Request(painted(), **call)) for call in CALLS]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    home, saved = tmp_path_factory.mktemp("models"), {}

    def make(name: str):
        if name not in saved:
            saved[name] = FAMILIES[name](home / name)
        return loader.load(str(saved[name]), FUSED)

    return make


@pytest.mark.parametrize("name", FAMILIES)
def test_captured_parts_are_the_same_bytes(load, name):
    model = load(name)
    wanted = pictures(model)
    captures = Captures().over(model)
    made = pictures(model)
    assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert model.card.why_not_faster == "" and captures.made >= 3
    before = captures.made
    again = picture(model, Request(painted(), **CALLS[-1]))
    assert captures.made == before and np.array_equal(again, wanted[-1])
    assert len({picture.tobytes() for picture in wanted}) == len(wanted) - 1


@torch.inference_mode()
def denoised(model, request: Request) -> torch.Tensor:
    """Outputs of the network at all steps of the request, on a fixed noise latent."""
    _, grid, condition = model.prepare(request)
    side = len(request.paper) // model.family.latent_px
    noise = torch.randn(1, model.family.channels(), side, side, generator=torch.Generator().manual_seed(1))
    return torch.cat([model.family.predict(noise, t, grid, condition) for t in grid.times[: request.steps]])


# linear layers that depend only on time and prompt: of time, of modulations, of words
PRODUCTS = {"sd3": 4 + 5 + 1, "flux": 4 + 4 + 1, "flux2": 2 + 4 + 1, "zimage": 2 + 4 + 1 + 2, "sana": 5 + 6}


@pytest.mark.parametrize("name", SAVERS)
def test_frames_ask_no_layer_of_time_and_prompt(load, name):
    model, request = load(name), Request(painted(), **CALLS[2])
    plain = loader.load(model.card.name, loader.Options(device="cpu", dtype="float32", fuse=False))
    assert (denoised(model, request) - denoised(plain, request)).abs().max() < 1e-4
    wanted = model.render(request).picture
    asked = layers_asked(model, Request(painted(), **CALLS[1]))
    assert len(asked) == PRODUCTS[name]
    assert np.array_equal(model.render(request).picture, wanted)
    for layer in asked:
        for weight in layer.parameters():
            weight.data.fill_(float("nan"))
    assert np.array_equal(model.render(request).picture, wanted)
    with pytest.raises(ModelError, match="not a number"):
        model.render(Request(painted(), **CALLS[1]))  # other times and prompts are recomputed


def layers_asked(model, request: Request) -> set[torch.nn.Linear]:
    """Linear layers of the network that are called while a request is prepared."""
    asked = set()
    layers = [layer for layer in model.family.network.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, *_: asked.add(layer)) for layer in layers]
    model.prepare(request)
    for hook in hooks:
        hook.remove()
    return asked


@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_guidance_that_changes(load, name):
    """Guidance changes the batch size and the prompt's tensors: older graphs must not be replayed."""
    model = load(name)
    guidances = (0.0, 5.0)
    wanted = {value: at_guidance(model, value) for value in guidances}
    Captures().over(model)
    for value in 2 * guidances:
        assert np.array_equal(at_guidance(model, value), wanted[value])


def at_guidance(model, value: float) -> np.ndarray:
    model.family.guidance = value
    model.prompts, model._made = PromptCache(model.family.encode), None
    return picture(model, Request(painted(), **CALLS[2]))


def test_sizes_have_graphs_of_their_own(load):
    model, sides = load("sd"), (256, 320)
    requests = [Request(painted(side), **CALLS[0]) for side in sides]
    wanted = [model.render(request).picture for request in requests]
    captures = Captures().over(model)
    for turn in (0, 1, 0):
        assert np.array_equal(picture(model, requests[turn]), wanted[turn])
    assert captures.made == 6  # three graphs per size


@pytest.mark.parametrize("sampler", ["euler-a", "unipc"])
def test_samplers_over_one_graph(load, sampler):
    """Samplers that draw noise, and multistep samplers that keep earlier predictions."""
    model = load("sd")
    model.sampler = sampler
    wanted = pictures(model)
    captures = Captures().over(model)
    assert all(np.array_equal(a, b) for a, b in zip(pictures(model), wanted, strict=True))
    assert captures.made == 3


def test_changed_adapters_forget_the_graphs(load, monkeypatch):
    model = load("sd")
    captures = Captures().over(model)
    before = pictures(model)
    weight = model.family.network.conv_out.weight
    monkeypatch.setattr(
        "models.pretrained.components.lora.scale", lambda pipe, names, scales: weight.data.mul_(scales[0])
    )
    model.scale_loras([0.5])
    made = pictures(model)
    assert captures.made == 6 and not np.array_equal(made[0], before[0])
    with model.eagerly():
        assert all(np.array_equal(a, b) for a, b in zip(made, pictures(model), strict=True))
    graphs = model.family.graphed.graphs
    model.close()
    assert graphs.keys == () and model.family.graphed is None


def test_work_is_counted_where_graphs_serve(load):
    model = load("sd3")
    expected = model.gflop(256, 256, 2)
    Captures().over(model)
    model._gflop.clear()
    pictures(model)
    assert model.gflop(256, 256, 2) == expected > 0


def test_a_part_that_cannot_be_captured_is_named(load):
    model = load("sd")
    wanted = pictures(model)

    def refuse(function, inputs):
        if "biases" in inputs:
            raise RuntimeError("operation not permitted when stream is capturing")
        return record_graph(function, inputs)

    model.use_graphs(capture=refuse)
    assert all(np.array_equal(a, b) for a, b in zip(pictures(model), wanted, strict=True))
    assert model.card.why_not_faster == (
        "forward: no CUDA graph: operation not permitted when stream is capturing"
    )


def test_what_is_not_a_number_is_told_by_a_graph_too(load):
    model = load("sd")
    Captures().over(model)
    pictures(model)
    model.family.network.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="gave what is not a number"):
        pictures(model)


def test_captured_by_the_thread_that_serves_and_only_when_it_rests(load):
    model, threads = load("sd"), []

    def noted(function, inputs):
        threads.append(threading.current_thread())
        return record_graph(function, inputs)

    model.use_graphs(capture=noted)
    for call in CALLS:
        frame = model.render(Request(painted(), **call))
        assert frame.why_not_faster.endswith(NOT_YET) and not threads
    while model.rest():
        pass
    assert threads == [threading.current_thread()] * len(threads) and len(threads) >= 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FAMILIES)
def test_real_graphs_of_every_family(tmp_path, name):
    model = loader.load(str(FAMILIES[name](tmp_path / name)), loader.Options(device="cuda", dtype="float32"))
    with model.eagerly():
        wanted = pictures(model)
    model.use_graphs()
    for _ in range(2):
        for made, expected in zip(pictures(model), wanted, strict=True):
            assert np.abs(made.astype(int) - expected).max() <= 1
    assert model.card.why_not_faster == ""
