"""How a model of one's own is run: as the model of the catalogue that its files say it is kin to. Nothing but
configurations and headers is read, and torch is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.api import ModelError
from models.pretrained.sources.catalogue import MODELS, Model, for_folder
from models.pretrained.sources.folder import INDEX, Folder, read_config, read_header, read_index

SINGLE_KEY = "model.diffusion_model.input_blocks.0.0.weight"  # of the layout of the first release
LARGE_KEY = "conditioner."  # begins the names of XL's text encoders there


def of_name(name: str) -> Model:
    """How a folder or a file of one's own is run. Raises ModelError for what is none."""
    path = Path(name)
    return of_folder(read_index(path)) if path.is_dir() else of_file(path)


def of_folder(folder: Folder) -> Model:
    """Few steps and no guidance, unless the model says that it was distilled for neither."""
    if folder.family == "unet" and not distilled(folder):
        return many_steps("XL" in folder.pipeline)
    if folder.family == "flux" and read_config(folder, "transformer", "config.json").get("guidance_embeds"):
        return replace(for_folder("flux"), steps=(1, 50, 20), guidance=3.5)  # FLUX.1 dev
    return for_folder(folder.family)


def distilled(folder: Folder) -> bool:
    """Whether a UNet's scheduler is that of the models of few steps: LCM's, or one that begins at the very
    last timestep, as a model trained to no signal at its end does too."""
    told = read_config(folder, "scheduler", "scheduler_config.json")
    trailing = told.get("timestep_spacing") == "trailing" and not told.get("rescale_betas_zero_snr")
    return trailing or told.get("_class_name") == "LCMScheduler"


def of_file(path: Path) -> Model:
    """As the folder beside it says, which has its configuration; else as Stable Diffusion 1.5 or XL, whose
    configuration comes from the hub, and with it a tiny autoencoder."""
    folder = beside(path)
    if folder is not None:
        return of_folder(read_index(folder))
    large = is_large(read_header(path))
    return replace(many_steps(large), tiny=MODELS["sdxl" if large else "sd15"].tiny)


def many_steps(large: bool) -> Model:
    """Stable Diffusion 1.5 or XL by another hand; its scheduler names the sampler."""
    usual = MODELS["sdxl" if large else "sd15"]
    return replace(for_folder("unet"), steps=usual.steps, guidance=usual.guidance, strength=usual.strength)


def beside(path: Path) -> Path | None:
    """The folder with the configuration of a single file: of its name, without the ending."""
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
    except ModelError:  # what else it may be tells its own error
        return False
