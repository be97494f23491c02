"""From a name, a folder or a file to a model that paints. Torch and `diffusers` are imported here, lazily."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.api import ModelCard, ModelError
from models.pretrained import faults, forecast, hub, lora
from models.pretrained.catalogue import CONTROLS, MODELS, PIPELINES, Model, for_folder
from models.pretrained.folder import INDEX, UNUSED, Folder, read_folder, read_header

FAMILIES = {
    "unet": ("models.pretrained.unet", "UNetFamily"),
    "sd3": ("models.pretrained.sd3", "SD3Family"),
    "flux": ("models.pretrained.flux", "FluxFamily"),
    "flux2": ("models.pretrained.flux2", "Flux2Family"),
    "zimage": ("models.pretrained.zimage", "ZImageFamily"),
    "sana": ("models.pretrained.sana", "SanaFamily"),
}
QUANTIZERS = {
    "8bit": ("bitsandbytes_8bit", {"load_in_8bit": True}),
    "4bit": ("bitsandbytes_4bit", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
}
TINY, CONTROL = "taesd", "controlnet"  # places of the extras in a folder of one's own
SINGLE_KEY = "model.diffusion_model.input_blocks.0.0.weight"
SINGLE_PIPELINES = {
    4: ("StableDiffusionImg2ImgPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    9: ("StableDiffusionXLImg2ImgPipeline", "stabilityai/stable-diffusion-xl-base-1.0"),
}


@dataclass(frozen=True)
class Options:
    """dtype: by name; None takes what the device is fast with. tiny: the tiny autoencoder where one fits.
    side_px: the picture's, for the forecast. lora: "FILE[:scale]" each. control: "scribble". offload: keep on
    the device only what works. quantize: "8bit" or "4bit", by the
    quantizers of `diffusers`. fuse: use our fused passes; None: on CUDA alone, for in plain torch the
    tiny autoencoder took 1.4 s in them where its own blocks took 0.4.
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
    fuse: bool | None = None


def is_folder(name: str) -> bool:
    return (Path(name) / INDEX).is_file()


def is_single_file(name: str) -> bool:
    """Whether this is a file of a whole Stable Diffusion model, in the layout of its first release."""
    path = Path(name)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        return SINGLE_KEY in read_header(path)
    except ModelError:  # what else it may be tells its own error
        return False


def load(name: str, options: Options = Options(), *, progress: Callable[[str], None] = lambda line: None):
    """A models.pretrained.serving.Pretrained. Raises ModelError, one line, for all that can go wrong."""
    try:
        return _load(name, options, progress)
    except Exception as error:
        raise faults.explain(error, MODELS[name].hub if name in MODELS else name) from error


def _load(name: str, options: Options, progress: Callable[[str], None]):
    import torch

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # or its import talks of what it could do
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for but torch finds none here; use cpu, or leave it out")
    dtype = getattr(torch, options.dtype) if options.dtype else usual_dtype(device)
    loras = [lora.parse(text) for text in options.lora]
    check_options(options, device)
    if name not in MODELS and not Path(name).is_dir():
        pipe, model = load_single(Path(name), dtype)
        tiny = None
    else:
        model = MODELS.get(name)
        path = hub.fetch(model.hub, progress=progress) if model else Path(name)
        folder = read_folder(path)
        model = model or for_folder(folder.family)
        progress(f"loading {name}")
        kind = str(dtype).removeprefix("torch.")
        need = forecast.of_folder(folder, kind, options.side_px, tiny=options.tiny and bool(model.tiny))
        forecast.check(name, need, kind, device, offload=options.offload)
        pipe = load_pipeline(folder, dtype, quantizer(options.quantize, dtype))
        if model.lora:
            found = sorted(hub.fetch(model.lora, progress=progress).glob("*.safetensors"))
            loras = [(found[0], 1.0), *loras]
        tiny = load_tiny(folder, model, dtype, progress) if options.tiny else None
    names = lora.lay_over(pipe, loras) if loras else []
    made = assemble(name, pipe, model, device, options, tiny)
    made.loras = names
    if options.control:
        beside = Path(name) / CONTROL
        lead(made.family, options.control, beside if beside.is_dir() else None, dtype, progress)
    return made


def check_options(options: Options, device: str) -> None:
    """Raise ModelError for options that cannot be had here."""
    if options.control and options.control not in CONTROLS:
        raise ModelError(f"--control takes {', '.join(CONTROLS)}, not {options.control!r}")
    if options.offload and device == "cpu":
        raise ModelError("--offload moves weights off a GPU; on the cpu there is nothing to move")
    if options.quantize not in ("", *QUANTIZERS):
        raise ModelError(f"--quantize takes {', '.join(QUANTIZERS)}, not {options.quantize!r}")


def quantizer(name: str, dtype):
    """The configuration of `diffusers` for a word of the command line; None for none."""
    if not name:
        return None
    try:
        importlib.import_module("bitsandbytes")
    except ImportError:
        raise ModelError("--quantize needs the package bitsandbytes: pip install bitsandbytes") from None
    from diffusers import PipelineQuantizationConfig

    backend, flags = QUANTIZERS[name]
    if name == "4bit":
        flags = {**flags, "bnb_4bit_compute_dtype": dtype}
    return PipelineQuantizationConfig(
        quant_backend=backend, quant_kwargs=flags, components_to_quantize=["transformer", "unet"]
    )


def lead(family, kind: str, path: Path | None, dtype, progress: Callable[[str], None]) -> None:
    """Put a ControlNet before a UNet: from its folder, or the hub's for the UNet's kind."""
    import diffusers

    from models.pretrained.control import Control

    if not hasattr(family, "lead"):
        raise ModelError("--control leads Stable Diffusion 1.5 and XL models only")
    path = path or hub.fetch(CONTROLS[kind][family.large], progress=progress)
    with quiet():
        network = diffusers.ControlNetModel.from_pretrained(
            path, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    family.lead(Control(network.to(family.device).eval().requires_grad_(False)))


def assemble(name: str, pipe, model: Model, device: str, options: Options, tiny=None):
    """The model from its parts, on its device."""
    import torch

    from models.pretrained.coder import Coder
    from models.pretrained.serving import Pretrained

    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    if options.offload:
        pipe.enable_model_cpu_offload(device=device)
    elif not options.quantize:
        pipe.to(device)
    if hasattr(pipe, "unet"):
        pipe.unet.to(memory_format=torch.channels_last)
    vae = tiny if tiny is not None else pipe.vae
    vae.to(device, memory_format=torch.channels_last)
    module, kind = FAMILIES[model.family]
    fuse = device != "cpu" if options.fuse is None else options.fuse
    whole = fuse and not (options.offload or options.quantize or options.lora or model.lora)
    family = getattr(importlib.import_module(module), kind)(
        pipe, Coder(vae, fuse=fuse), model.guidance, whole=whole
    )
    sampler = options.sampler or model.sampler or family.usual_sampler()
    least, most, _ = model.steps
    path = f"{type(vae).__name__}, {'fused' if is_fused(family.network) else 'as it came'}"
    card = ModelCard(
        name=name,
        family=model.family,
        device=device,
        dtype=str(family.dtype).removeprefix("torch."),
        threads=torch.get_num_threads() if device == "cpu" else 1,
        path=path,
        why_not_faster="" if device != "cpu" else "no CUDA device",
        steps=tuple(range(least, most + 1)),
        default_strength=model.strength,
        licence=model.licence,
        understands_prompt=True,
    )
    # what is offloaded has no place of its own, and quantized products are another library's affair
    return Pretrained(family, card, sampler, graphs=not (options.offload or options.quantize))


def is_fused(network) -> bool:
    return any("fused" in vars(module) for module in network.modules())


def usual_dtype(device: str):
    """bfloat16 where it is fast: on CUDA, and on a CPU that multiplies in it."""
    import torch

    from models.inference import bf16_gain

    return torch.bfloat16 if device != "cpu" or bf16_gain() > 1.3 else torch.float32


def load_pipeline(folder: Folder, dtype, quantization=None):
    """The pipeline that edits pictures, from safetensors alone, without the network or foreign code."""
    import diffusers

    kind = getattr(diffusers, PIPELINES[folder.pipeline][1])
    known = set(kind._get_signature_keys(kind)[0]) | set(kind._get_signature_keys(kind)[1])
    extra = {name: None for name in UNUSED if name in known}
    if "requires_safety_checker" in known:
        extra["requires_safety_checker"] = False
    if quantization is not None:
        extra["quantization_config"] = quantization
    with quiet():
        return kind.from_pretrained(
            folder.path,
            dtype=dtype,
            use_safetensors=True,
            variant=folder.variant(),
            local_files_only=True,
            low_cpu_mem_usage=True,
            **extra,
        )


def load_tiny(folder: Folder, model: Model, dtype, progress: Callable[[str], None]):
    """The tiny autoencoder: beside the components, or the registry's; None where there is none."""
    from diffusers import AutoencoderTiny

    path = folder.path / TINY
    if not path.is_dir():
        if not model.tiny:
            return None
        path = hub.fetch(model.tiny, progress=progress)
    with quiet():
        made = AutoencoderTiny.from_pretrained(path, dtype=dtype, use_safetensors=True, local_files_only=True)
    return made.eval().requires_grad_(False)


def load_single(path: Path, dtype):
    """A Stable Diffusion 1.5 or XL file: its weights, and configurations from the model it was made from."""
    import diffusers

    header = read_header(path)
    if SINGLE_KEY not in header:
        raise ModelError(f"{path} holds neither the painter nor Stable Diffusion 1.5 or XL")
    blocks = {key.split(".")[3] for key in header if key.startswith("model.diffusion_model.input_blocks.")}
    large = any(key.startswith("conditioner.") for key in header)
    pipeline, base = SINGLE_PIPELINES[9 if large else 4]
    if not blocks:
        raise ModelError(f"{path} lacks its UNet")
    beside = path.with_suffix("")
    config = str(beside) if is_folder(str(beside)) else base
    try:
        with quiet():
            pipe = getattr(diffusers, pipeline).from_single_file(
                str(path), config=config, dtype=dtype, use_safetensors=True
            )
    except Exception as error:
        problem = faults.reason(error, base)
        raise ModelError(f"{path}, with the configuration of {config}: {problem}") from error
    return pipe, for_folder("unet")


@contextmanager
def quiet():
    """No bars and no advice on the terminal: what matters is said in one line."""
    import diffusers.utils.logging as logs
    from transformers.utils import logging as more

    level = logs.get_verbosity()
    for log in (logs, more):
        log.disable_progress_bar()
        log.set_verbosity_error()
    try:
        yield
    finally:
        logs.set_verbosity(level)
