"""Infer a model's run settings from the matching catalogue entry.

Only configurations and headers are read; torch is not needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.api import ModelError
from models.pretrained.sources.catalogue import MODELS, Model, for_folder
from models.pretrained.sources.folder import INDEX, Folder, read_config, read_header, read_index

SINGLE_KEY = "model.diffusion_model.input_blocks.0.0.weight"  # in the layout of the first release
LARGE_KEY = "conditioner."  # prefix of XL's text encoders in that layout


def of_name(name: str) -> Model:
    """Infer the settings of a user's folder or file. Raises ModelError for anything else."""
    path = Path(name)
    return of_folder(read_index(path)) if path.is_dir() else of_file(path)


def of_folder(folder: Folder) -> Model:
    """Infer the settings of a folder: few steps and no guidance, unless it was not distilled for them."""
    if folder.family == "unet" and not distilled(folder):
        return many_steps("XL" in folder.pipeline)
    if folder.family == "flux" and read_config(folder, "transformer", "config.json").get("guidance_embeds"):
        return replace(for_folder("flux"), steps=(1, 50, 20), guidance=3.5)  # FLUX.1 dev
    return for_folder(folder.family)


def distilled(folder: Folder) -> bool:
    """Whether a UNet's scheduler is one for few-step models.

    That is LCM's, or one that begins at the very last timestep without being a model trained to zero terminal
    SNR, which begins there too.
    """
    told = read_config(folder, "scheduler", "scheduler_config.json")
    trailing = told.get("timestep_spacing") == "trailing" and not told.get("rescale_betas_zero_snr")
    return trailing or told.get("_class_name") == "LCMScheduler"


def of_file(path: Path) -> Model:
    """Infer the settings of a single file.

    The folder beside it with its configuration decides, where there is one. Otherwise the file is taken for
    Stable Diffusion 1.5 or XL, whose configuration comes from the hub, together with a tiny autoencoder.
    """
    folder = beside(path)
    if folder is not None:
        return of_folder(read_index(folder))
    large = is_large(read_header(path))
    return replace(many_steps(large), tiny=MODELS["sdxl" if large else "sd15"].tiny)


def many_steps(large: bool) -> Model:
    """Settings of a third-party Stable Diffusion 1.5 or XL; the model's scheduler names the sampler."""
    usual = MODELS["sdxl" if large else "sd15"]
    return replace(for_folder("unet"), steps=usual.steps, guidance=usual.guidance, strength=usual.strength)


def beside(path: Path) -> Path | None:
    """Folder with a single file's configuration, named as the file without suffix; None if missing."""
    folder = path.with_suffix("")
    return folder if (folder / INDEX).is_file() else None


def is_large(header: dict) -> bool:
    return any(key.startswith(LARGE_KEY) for key in header)


def is_single_file(name: str) -> bool:
    """Whether this is a file of a whole Stable Diffusion model, in the layout of its first release."""
    path = Path(name)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        return SINGLE_KEY in read_header(path)
    except ModelError:  # other kinds of file raise their own error
        return False
