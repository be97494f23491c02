"""Every pretrained model at its real size on the strict device.

No op mixes devices, and no captured part has an op that a CUDA graph refuses.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig
from strict_device import DEVICE, DeviceFault, StrictDevice

from models.api import Request
from models.benchmarks import real_models
from models.device.cuda_graphs import CaptureGate

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
SIDE_PX = 512
FAMILIES = (
    "sd-turbo",
    "sdxl-turbo",
    "sd3.5-medium",
    "flux-schnell",
    "flux2-klein",
    "z-image-turbo",
    "sana-sprint",
)


def check(model, *, steps: int = 1, parts: int = 3) -> None:
    """Render a frame eagerly, from RGBA to bytes, capture its parts, then render a frame by the graphs."""
    strict = StrictDevice()
    model.use_graphs(capture=strict.capture, gate=CaptureGate())
    paper = np.full((SIDE_PX, SIDE_PX, 4), 200, np.uint8)
    with strict:
        for seed in (1, 2):
            request = Request(paper, steps=steps, seed=seed, prompt="a lake")
            frame = model.render(request)
            assert frame.picture.shape == (SIDE_PX, SIDE_PX, 3) and frame.picture.dtype == np.uint8
            while model.rest():
                pass
    assert strict.captures == parts and strict.ops > 500
    assert model.family.graphed.why_eager == ""
    assert model.family.device == DEVICE and all(
        w.device == DEVICE for w in model.family.network.parameters()
    )


def adapted(network: torch.nn.Module) -> None:
    """Add a LoRA to the attention layers, as peft does for a network on the device."""
    with DEVICE:
        network.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"]))
    network.to(next(network.parameters()).dtype).requires_grad_(False)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unmodified"])
def test_a_frame_of_every_family(name, fuse):
    model = real_models.empty_model(name, fuse=fuse)
    assert any("fused" in vars(part) for part in model.family.network.modules()) == fuse
    check(model)


@pytest.mark.parametrize(("name", "steps"), [("sd15", 2), ("sdxl", 1), ("sd3.5-medium", 1)])
def test_guidance_with_the_full_autoencoder(name, steps):
    model = real_models.empty_model(name, full=True)
    assert model.family.guided
    check(model, steps=steps)


@pytest.mark.parametrize("name", ["sd-turbo", "sd3.5-medium"])
def test_a_lora(name):
    check(real_models.empty_model(name, fuse=False, prepare=adapted))


@pytest.mark.parametrize("name", ["lcm", "sdxl-turbo"])
def test_a_controlnet(name):
    model = real_models.empty_model(name)
    real_models.add_control(model)
    check(model)


@pytest.mark.parametrize("name", real_models.PARAMETERS)
def test_the_sizes_are_those_that_are_published(name):
    network = real_models.empty_model(name).family.network
    assert sum(w.numel() for w in network.parameters()) == real_models.PARAMETERS[name]


@pytest.mark.parametrize("name", real_models.REAL)
def test_the_catalogue_knows_how_large_each_denoiser_is(name):
    """Sizes agree to 11 %: files also hold buffers, which are a tenth of SD 3.5 medium."""
    network = real_models.empty_model(name, fuse=False).family.network
    count = sum(value.numel() for value in (*network.parameters(), *network.buffers()))
    assert count / 1e9 == pytest.approx(real_models.MODELS[name].sizes.denoiser, rel=0.11)


FAULTS = {
    "a bias of the host": lambda family, x: torch.nn.functional.conv2d(
        x.to(family.dtype), family.network.conv_in.weight, torch.zeros(320, dtype=family.dtype)
    ),
    "a value that is read": lambda family, x: x * float(x.sum()),
    "noise of the host": lambda family, x: x + torch.randn(x.shape).to(DEVICE),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_family_is_found(name):
    """Positive controls: faults inside the denoiser are detected."""
    model = real_models.empty_model("sd-turbo")
    family, strict = model.family, StrictDevice()
    plain = family.forward
    family.forward = lambda x, **told: (FAULTS[name](family, x), plain(x, **told))[1]
    model.use_graphs(capture=strict.capture, gate=CaptureGate())
    request = Request(np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8), prompt="a lake")
    with pytest.raises(DeviceFault), strict:
        model.render(request)
        while model.rest():
            pass
    assert strict.faults
