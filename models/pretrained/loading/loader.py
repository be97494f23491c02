"""Load a pretrained model from a name, a folder or a file. Imports torch and `diffusers` lazily."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from models.api import ModelError, ProgressCallback, no_progress
from models.pretrained.components import lora
from models.pretrained.loading import memory_estimate
from models.pretrained.loading.component_loader import (
    CONTROL,
    QUANTIZED,
    QUANTIZERS,
    TINY,
    alone,
    load_part,
    load_pipeline,
    load_single,
    load_tiny,
    quantizer,
)
from models.pretrained.sources import error_messages, hub, settings_inference
from models.pretrained.sources.catalogue import CONTROLS, MODELS, Model
from models.pretrained.sources.folder import Folder, read_folder, stored_dtype

FAMILIES = {
    "unet": ("models.pretrained.families.stable_diffusion", "UNetFamily"),
    "sd3": ("models.pretrained.families.sd3", "SD3Family"),
    "flux": ("models.pretrained.families.flux", "FluxFamily"),
    "flux2": ("models.pretrained.families.flux2", "Flux2Family"),
    "zimage": ("models.pretrained.families.zimage", "ZImageFamily"),
    "sana": ("models.pretrained.families.sana", "SanaFamily"),
}
FLOAT16_FAMILIES = ("unet", "sd3", "flux")  # the text encoders of the others overflow in float16
MOST_GUIDANCE = 30


@dataclass(frozen=True)
class Options:
    """Options of loading a pretrained model.

    dtype: by name; None takes the device's fast dtype. tiny: the tiny autoencoder where one fits. side_px: of
    the picture, for the memory estimate. lora: "FILE[:scale]" each. control: "scribble". offload: keep only
    the working component on the device. quantize: "8bit" or "4bit", by the quantizers of `diffusers`.
    guidance: replaces the model's own; 0 or 1 for none. fuse: use our fused passes; None: only on CUDA,
    because in plain torch the tiny autoencoder took 1.4 s with them and 0.4 s with its own blocks.
    """

    device: str | None = None
    dtype: str | None = None
    sampler: str = ""
    tiny: bool = True
    side_px: int = 512
    lora: tuple[str, ...] = ()
    control: str = ""
    offload: bool = False
    quantize: str = ""
    guidance: float | None = None
    fuse: bool | None = None


def load(name: str, options: Options = Options(), *, progress: ProgressCallback = no_progress):
    """Load a `pretrained_model.Pretrained`. Raises ModelError, one line, for errors that the user can fix."""
    with error_messages.explained(name):
        return _load(name, options, progress)


def _load(name: str, options: Options, progress: ProgressCallback):

    from models.device.cuda import check_device, usual_device
    from models.device.cuda_graphs import GATE
    from models.device.precision import has_bf16

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # silences the advice printed at its import
    device = options.device or usual_device()
    check_device(device)
    if options.dtype == "bfloat16" and device != "cpu" and not has_bf16(device):
        raise ModelError(f"{device} has no bfloat16; leave --dtype out, or take float16 or float32")
    loras = [lora.parse(text) for text in options.lora]
    check_options(options, device)
    if name not in MODELS and not Path(name).is_dir():
        check_family("unet", options)
        if options.quantize:
            raise ModelError(f"{name} is a single file; --quantize takes models of the hub and folders")
        home, model = settings_inference.beside(Path(name)), settings_inference.of_file(Path(name))
        dtype = dtype_of(model, [Path(name)], device, options)
        tiny = has_tiny(home, model, options)
        memory_estimate.check(
            name,
            partial(file_estimate, Path(name), options.side_px, tiny),
            flags_of(dtype, options),
            device,
            quantizable=False,
        )
        pipe = load_single(Path(name), dtype, progress)
    else:
        model = MODELS.get(name)
        if model is not None:
            check_family(model.family, options)
        if model is not None and not hub.here(model.hub):  # check before the download
            memory_estimate.check(
                name,
                partial(catalogue_estimate, model, options.side_px),
                flags_of(dtype_of(model, [], device, options), options),
                device,
            )
        path = hub.fetch(model.hub, progress=progress) if model else Path(name)
        folder, home = read_folder(path), path
        model = model or settings_inference.of_folder(folder)
        check_family(model.family, options)
        tiny = has_tiny(home, model, options)
        dtype = dtype_of(model, denoiser_files(folder), device, options)
        memory_estimate.check(
            name, partial(folder_estimate, folder, options.side_px, tiny), flags_of(dtype, options), device
        )
        # each component moves to the device before the next one is loaded
        place = None if options.offload else device
        pipe = load_pipeline(folder, name, dtype, progress, quantizer(options.quantize, dtype), device=place)
        if model.lora:
            found = sorted(hub.fetch(model.lora, progress=progress).glob("*.safetensors"))
            loras = [(found[0], 1.0), *loras]
    tiny = load_tiny(home, model, dtype, progress) if options.tiny else None
    if options.guidance is not None:
        model = replace(model, guidance=options.guidance)
    with alone():
        names = lora.lay_over(pipe, loras) if loras else []
    with GATE.other_work():  # no graph capture while weights are moved
        made = assemble(name, pipe, model, device, options, tiny)
    made.loras, made.lora_scales, made.own_loras = names, [scale for _, scale in loras], int(bool(model.lora))
    if options.guidance and not made.family.heeds_guidance:
        raise ModelError(f"{name} was distilled to need no guidance; leave --guidance out")
    if options.control:
        beside = home / CONTROL if home is not None and (home / CONTROL).is_dir() else None
        lead(made.family, options, beside, dtype, progress)
    return made


def dtype_of(model: Model, files: list[Path], device: str, options: Options):
    """Return the default dtype of a model. files: of its denoiser, where they are on this machine.

    On CUDA weights that were saved in float16 stay in it, because bfloat16 rounds three of their bits away.
    Older cards, which have no bfloat16, use float16 for models published in it or trained to tolerate it, and
    float32 for all others.
    """
    import torch

    from models.device.precision import fast_dtype

    if options.dtype:
        return getattr(torch, options.dtype)
    dtype = fast_dtype(device)
    if torch.device(device).type != "cuda":
        return dtype
    if dtype == torch.bfloat16:
        return torch.float16 if stored_dtype(files) == "F16" else dtype
    return dtype if model.family in FLOAT16_FAMILIES else torch.float32


def denoiser_files(folder: Folder) -> list[Path]:
    return [file for name in QUANTIZED if name in folder.components for file in folder.weights(name)]


def flags_of(dtype, options: Options) -> memory_estimate.Flags:
    return memory_estimate.Flags(str(dtype).removeprefix("torch."), options.offload, options.quantize)


def catalogue_estimate(model: Model, side_px: int, dtype: str, quantize: str) -> memory_estimate.Need:
    return memory_estimate.of_catalogue(model, dtype, side_px, quantize)


def file_estimate(file: Path, side_px: int, tiny: bool, dtype: str, _: str) -> memory_estimate.Need:
    return memory_estimate.of_files([file], dtype, side_px, tiny=tiny)


def folder_estimate(
    folder: Folder, side_px: int, tiny: bool, dtype: str, quantize: str
) -> memory_estimate.Need:
    return memory_estimate.of_folder(folder, dtype, side_px, tiny=tiny, quantize=quantize)


def has_tiny(home: Path | None, model: Model, options: Options) -> bool:
    """Whether a tiny autoencoder will be used: from the model's folder, or from the hub."""
    return options.tiny and bool(model.tiny or (home is not None and (home / TINY).is_dir()))


def check_options(options: Options, device: str) -> None:
    """Raise ModelError for options that are not available on this device."""
    if options.control and options.control not in CONTROLS:
        raise ModelError(f"--control takes {', '.join(CONTROLS)}, not {options.control!r}")
    if options.offload and device == "cpu":
        raise ModelError("--offload moves weights off a GPU; on the cpu there is nothing to move")
    if options.guidance is not None and not 0 <= options.guidance <= MOST_GUIDANCE:
        raise ModelError(f"--guidance runs from 0 to {MOST_GUIDANCE}, not {options.guidance:g}")
    if options.quantize not in ("", *QUANTIZERS):
        raise ModelError(f"--quantize takes {', '.join(QUANTIZERS)}, not {options.quantize!r}")


def family_of(name: str) -> type:
    module, kind = FAMILIES[name]
    return getattr(importlib.import_module(module), kind)


def check_family(family: str, options: Options) -> None:
    """Raise ModelError, before any loading, for a sampler or control that the family does not support."""
    from models.pretrained.components import schedule

    if options.sampler:
        schedule.sampler_of(options.sampler, family_of(family).kind)
    if options.control and not hasattr(family_of(family), "lead"):
        raise ModelError("--control leads Stable Diffusion 1.5 and XL models only")


def lead(family, options: Options, path: Path | None, dtype, progress: ProgressCallback) -> None:
    """Add a ControlNet to a UNet: from the folder `path`, or the hub's for this kind of UNet."""
    import diffusers

    from models.pretrained.components.controlnet import Control

    path = path or hub.fetch(CONTROLS[options.control][family.large], progress=progress)
    files = sorted(path.glob("*.safetensors"))
    memory_estimate.check(
        f"{path}, the ControlNet,",
        lambda dtype, _: memory_estimate.of_control(files, dtype),
        memory_estimate.Flags(str(dtype).removeprefix("torch.")),
        str(family.device),
        quantizable=False,
        offloadable=False,
    )
    network = load_part(diffusers.ControlNetModel, path, dtype, f"{path}: this ControlNet")
    family.lead(Control(network.to(family.device).eval().requires_grad_(False)))


def assemble(name: str, pipe, model: Model, device: str, options: Options, tiny=None):
    """Assemble the model from its components, on its device."""
    import torch

    from models.pretrained.components.autoencoder import Coder
    from models.pretrained.pretrained_model import Pretrained

    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    if options.offload:
        pipe.enable_model_cpu_offload(device=device)
    elif options.quantize:  # the quantizer has already placed the quantized weights
        for part_name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module) and part_name not in QUANTIZED:
                part.to(device)
    else:
        pipe.to(device)
    if hasattr(pipe, "unet"):
        pipe.unet.to(memory_format=torch.channels_last)
    vae = tiny if tiny is not None else pipe.vae
    if (
        vae.dtype == torch.float16
        and tiny is None
        and hasattr(pipe, "text_encoder_2")
        and hasattr(pipe, "unet")
    ):
        vae.float()  # SDXL's autoencoder overflows in float16
    vae.to(device, memory_format=torch.channels_last)
    fuse = device != "cpu" if options.fuse is None else options.fuse
    whole = fuse and not (options.offload or options.quantize or options.lora or model.lora)
    family = family_of(model.family)(pipe, Coder(vae, fuse=fuse), model.guidance, whole=whole)
    if problem := family.mismatch():
        raise ModelError(f"{name}: {error_messages.MISMATCH}{problem}")
    sampler = options.sampler or model.sampler or family.usual_sampler()
    path = f"{type(vae).__name__}, {'fused' if is_fused(family.network) else 'unmodified'}"
    card = replace(
        model.card(name),
        device=device,
        dtype=str(family.dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if device == "cpu" else 1,
        path=path,
        why_not_faster="" if device != "cpu" else "no CUDA device",
    )
    # no graphs: offloaded weights move, and quantized products run in another library
    return Pretrained(family, card, sampler, graphs=not (options.offload or options.quantize))


def is_fused(network) -> bool:
    return any("fused" in vars(module) for module in network.modules())
