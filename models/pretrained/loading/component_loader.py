"""Load the components of a model one after another, from safetensors only.

Loading can report progress and be cancelled between two components.
"""

from __future__ import annotations

import importlib
import threading
from contextlib import contextmanager
from pathlib import Path

from models.api import ModelError, ProgressCallback
from models.pretrained.sources import error_messages, hub, settings_inference
from models.pretrained.sources.catalogue import MODELS, PIPELINES, Model
from models.pretrained.sources.folder import (
    INDEX,
    UNUSED,
    WEIGHTLESS,
    Folder,
    count_parameters,
    read_header,
    read_json,
)

QUANTIZERS = {
    "8bit": ("bitsandbytes_8bit", {"load_in_8bit": True}),
    "4bit": ("bitsandbytes_4bit", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
}
QUANTIZED = ("transformer", "unet")
TINY, CONTROL = "taesd", "controlnet"  # folders of the extras inside a user's model folder
SINGLE_PIPELINES = {  # whether it is XL -> pipeline, and the model that gives the configurations
    False: ("StableDiffusionImg2ImgPipeline", MODELS["sd15"].hub),
    True: ("StableDiffusionXLImg2ImgPipeline", MODELS["sdxl"].hub),
}

LOADING = threading.Lock()


def quantizer(name: str, dtype):
    """Return the `diffusers` quantization configuration for a command-line value; None for none."""
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
        quant_backend=backend, quant_kwargs=flags, components_to_quantize=[*QUANTIZED]
    )


def load_pipeline(
    folder: Folder,
    name: str,
    dtype,
    progress: ProgressCallback,
    quantization=None,
    *,
    device: str | None = None,
):
    """Load an image-editing pipeline from safetensors only, without network access or third-party code.

    name: the model's, for messages. device: where each component is moved as soon as it is loaded, so that
    the host never holds them all; None leaves them on the host.
    """
    import diffusers

    kind = getattr(diffusers, PIPELINES[folder.pipeline][1])
    known = set(kind._get_signature_keys(kind)[0]) | set(kind._get_signature_keys(kind)[1])
    extra: dict[str, object] = {name: None for name in UNUSED if name in known}
    named = read_json(folder.path / INDEX)
    lacking = sorted(set(kind._get_signature_keys(kind)[0]) - {*kind._optional_components, *extra, *named})
    if lacking:
        raise ModelError(f"{folder.path}: its {INDEX} names no {', '.join(lacking)}")
    if "requires_safety_checker" in known:
        extra["requires_safety_checker"] = False
    left = ()
    if quantization is not None:
        extra["quantization_config"] = quantization
        left = QUANTIZED
    variant = next((folder.variant(part) for part in left if part in folder.components), None)
    extra |= parts_of(folder, name, dtype, progress, left, device)
    try:
        with alone():
            return kind.from_pretrained(
                folder.path,
                dtype=dtype,
                use_safetensors=True,
                variant=variant,
                local_files_only=True,
                low_cpu_mem_usage=True,
                **extra,
            )
    except Exception as error:  # only text files of the folder remain: configurations, vocabularies
        if error_messages.out_of_memory(error):
            raise
        problem = error_messages.reason(error, name) or error_messages.first_line(error)
        raise ModelError(f"{folder.path} cannot be loaded: {problem}") from error


def parts_of(
    folder: Folder,
    model: str,
    dtype,
    progress: ProgressCallback,
    left: tuple[str, ...],
    device: str | None = None,
) -> dict:
    """Load the components that have weights, except those in `left`: name -> component.

    Before each one, `progress` is called with the share of bytes that are loaded.
    """
    import diffusers
    import transformers

    from models.device.cuda_graphs import GATE

    names = [name for name in folder.components if not name.startswith(WEIGHTLESS)]
    sizes = {name: count_parameters(folder.weights(name))[1] for name in names}
    made, done = {}, 0
    for name in (name for name in names if name not in left):
        progress(f"loading {model}, {name}", done / sum(sizes.values()))
        class_name = folder.components[name]
        kind = getattr(diffusers, class_name, None) or getattr(transformers, class_name, None)
        if kind is None:
            raise ModelError(f"{folder.path}: its {name} is a {class_name}, which is not known here")
        told = f"{folder.path}: its {name}"
        part = load_part(kind, folder.path / name, dtype, told, folder.variant(name))
        if device is not None:
            with GATE.other_work():
                part.to(device)
        made[name] = part
        done += sizes[name]
    progress(f"loading {model}", done / sum(sizes.values()))
    return made


def load_tiny(home: Path | None, model: Model, dtype, progress: ProgressCallback):
    """Load the tiny autoencoder from the model's folder, or the catalogue's; None where there is none."""
    from diffusers import AutoencoderTiny

    path = home / TINY if home is not None else None
    if path is None or not path.is_dir():
        if not model.tiny:
            return None
        path = hub.fetch(model.tiny, progress=progress)
    made = load_part(AutoencoderTiny, path, dtype, f"{path}: this tiny autoencoder")
    return made.eval().requires_grad_(False)


def load_part(kind: type, path: Path, dtype, told: str, variant: str | None = None):
    """Load one component from its folder. told: its description for messages.

    Raises ModelError for a component that is damaged, lacks weights, or is of another kind.
    """
    for file in path.glob("*.safetensors"):
        read_header(file)
    try:
        with alone():
            made, info = kind.from_pretrained(
                path,
                dtype=dtype,
                use_safetensors=True,
                variant=variant,
                local_files_only=True,
                low_cpu_mem_usage=True,
                output_loading_info=True,
            )
    except Exception as error:
        if error_messages.out_of_memory(error):
            raise
        problem = error_messages.reason(error, told) or error_messages.first_line(error)
        raise ModelError(f"{told} cannot be loaded as {kind.__name__}: {problem}") from error
    # tied weights are stored under the name of the tensor they share
    lacking = sorted(set(info["missing_keys"]) & {name for name, _ in made.named_parameters()})
    if lacking:
        raise ModelError(f"{told} lacks {len(lacking)} of its weights, such as {lacking[0]}")
    return made


def load_single(path: Path, dtype, progress: ProgressCallback):
    """Load a single Stable Diffusion 1.5 or XL file, with the configurations of its base model."""
    import diffusers

    header = read_header(path)
    if settings_inference.SINGLE_KEY not in header:
        raise ModelError(f"{path} holds neither the painter nor Stable Diffusion 1.5 or XL")
    blocks = {key.split(".")[3] for key in header if key.startswith("model.diffusion_model.input_blocks.")}
    pipeline, base = SINGLE_PIPELINES[settings_inference.is_large(header)]
    if not blocks:
        raise ModelError(f"{path} lacks its UNet")
    config = str(settings_inference.beside(path) or base)
    progress(f"loading {path}")
    try:
        with alone():
            return getattr(diffusers, pipeline).from_single_file(
                str(path), config=config, dtype=dtype, use_safetensors=True
            )
    except Exception as error:
        problem = error_messages.reason(error, base) or error_messages.first_line(error)
        raise ModelError(f"{path}, with the configuration of {config}: {problem}") from error


@contextmanager
def alone():
    """Load one component at a time in the whole process, and silence progress bars and log messages.

    While they load, `transformers` and `diffusers` replace functions and the default dtype of torch for all
    threads; two concurrent loads would restore each other's. The bars and messages stay off afterwards: what
    these libraries log is also raised as an error, or is in a Frame's notes.
    """
    import logging

    import diffusers.utils.logging as logs
    from transformers.utils import logging as more

    with LOADING:
        for log in (logs, more):
            log.disable_progress_bar()
            log.set_verbosity(logging.CRITICAL)
        yield
