"""Stable Diffusion 1.5, 2.1, XL and their distilled variants: a UNet that predicts noise or velocity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.api import ModelError
from models.pretrained.components.controlnet import Control
from models.pretrained.components.prompt_cache import Condition, cut_words
from models.pretrained.components.schedule import Discrete, diffusion_grid, karras_grid, lcm_grid
from models.pretrained.families.base import Family, Size
from models.pretrained.fusion import patching
from models.pretrained.fusion.prepared_unet import PreparedUNet
from models.sampling.paths import Grid

AESTHETIC_SCORE = 6.0  # default of `diffusers` for an SDXL refiner

USUAL = {  # samplers by the matching scheduler of `diffusers`
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "DPMSolverMultistepScheduler": "dpm++2m",
    "UniPCMultistepScheduler": "unipc",
    "HeunDiscreteScheduler": "heun",
    "LCMScheduler": "lcm",
}


class UNetFamily(Family):
    kind = "diffusion"

    def usual_sampler(self) -> str:
        return USUAL.get(type(self.pipe.scheduler).__name__, "dpm++2m")

    def denoiser(self) -> Any:
        return self.pipe.unet

    def ready(self, whole: bool) -> None:
        config = self.pipe.scheduler.config
        self.path = Discrete(self.pipe.scheduler.alphas_cumprod.cpu().numpy())
        self.predicts = config.get("prediction_type", "epsilon")
        if self.predicts not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(f"a UNet that predicts {self.predicts} is not known")
        self.large = hasattr(self.pipe, "tokenizer_2")
        self._times: tuple[float, ...] = ()
        self.prepared: PreparedUNet | None = None
        self.control: Control | None = None
        # SDXL's time embedding depends on the prompt: one set of biases cannot serve two prompts at a time
        if whole and not (self.guided and self.large):
            try:
                self.prepared = PreparedUNet(self.network, torch.zeros(1, device=self.device))
            except ValueError:  # unsupported block configuration: the UNet runs unfused
                patching.restore(self.network)

    def mismatch(self) -> str:
        takes_large = self.network.config.get("addition_embed_type") == "text_time"
        if takes_large != self.large:
            kinds = ("Stable Diffusion 1 or 2", "Stable Diffusion XL")
            return f"its UNet is one of {kinds[takes_large]}, its text encoders are of {kinds[self.large]}"
        return ""

    def encode(self, text: str) -> Condition:
        pipe = self.pipe
        cut = cut_words(pipe.tokenizer, text, pipe.tokenizer.model_max_length)
        return self.of_prompt(text, self._told, cut)

    def _told(self, text: str) -> dict[str, Tensor]:
        """Prompt embeddings from the text encoders; zeros for an empty prompt where SDXL was trained so."""
        if self.large:
            states, _, pooled, _ = self.pipe.encode_prompt(
                text, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
            keep = float(bool(text) or not self.pipe.config.get("force_zeros_for_empty_prompt", True))
            return {"states": keep * states.to(self.dtype), "pooled": keep * pooled.to(self.dtype)}
        states, _ = self.pipe.encode_prompt(text, self.device, 1, False)
        return {"states": states.to(self.dtype)}

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        if sampler == "lcm":
            return lcm_grid(self.path, steps, strength)
        make = karras_grid if sampler.endswith("karras") else diffusion_grid
        return make(self.path, steps, strength)

    def noise_share(self, keep: Tensor) -> Tensor:
        """Weight of the noise at unit variance: blank paper is full-strength noise at every time."""
        return (1 - keep * keep).sqrt()

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        self.states = self.both(condition, "states")
        self.added = self.added_for(condition, size) if self.large else None
        self._times = times
        if self.prepared is not None:
            self.prepared.timesteps = torch.tensor(times, dtype=torch.float32, device=self.device)
            moves = self.prepared.moves
            self.prepared.prompt(self.states, self.added)
            self.version += self.prepared.moves - moves

    def both(self, condition: Condition, name: str) -> Tensor:
        """Named tensor of the prompt, (1, ...); with guidance (2, ...), the empty prompt first."""
        told = condition.tensors[name]
        return torch.cat((condition.unprompted[name], told)) if self.guided else told

    def added_for(self, condition: Condition, size: Size) -> dict[str, Tensor]:
        """SDXL's additional conditions (Podell et al. 2023, section 2.2): actual size, no crop."""
        tail = tuple(size)
        if self.pipe.config.get("requires_aesthetics_score", False):
            tail = (AESTHETIC_SCORE,)
        ids = torch.tensor([[*size, 0, 0, *tail]], dtype=self.dtype, device=self.device)
        pooled = self.both(condition, "pooled")
        return {"text_embeds": pooled, "time_ids": ids.expand(len(pooled), -1)}

    def predict(self, x: Tensor, t: float, grid: Grid, condition: Condition) -> Tensor:
        if self.prepared is not None:
            out = self.run("forward", x=x, biases=self.prepared.rows[self._times.index(t)])
        else:
            told = {"states": self.states, **(self.added or {})}
            if self.control is not None and self.control.hint is not None:
                told["hint"] = self.control.hint
            out = self.run("forward", x=x, moment=self.moment(t), **told)
        if self.guided:
            plain, told = out.chunk(2)
            out = plain + self.guidance * (told - plain)
        a, b = grid.path.scale(t)
        if self.predicts == "epsilon":
            return (x - b * out) / a
        if self.predicts == "v_prediction":
            return a * x - b * out
        return out if self.guided else out.clone()  # the next run of a graph overwrites `out`

    def lead(self, control: Control) -> None:
        """Attach a ControlNet to the UNet, whose blocks then run unfused."""
        patching.restore(self.network)
        self.control, self.prepared = control, None

    def see(self, paper: Tensor) -> None:
        if self.control is not None:
            self.control.see(paper)

    def forward(self, x: Tensor, **told: Tensor) -> Tensor:
        """Run the UNet.

        told: biases of a prepared UNet; otherwise moment, states, SDXL's conditions and a ControlNet hint.
        """
        sample = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.guided:
            sample = torch.cat((sample, sample))
        if self.prepared is not None and "biases" in told:
            return self.prepared(sample, told["biases"]).float()
        return self.plain(sample, **told).float()

    def plain(
        self, sample: Tensor, moment: Tensor, states: Tensor, hint: Tensor | None = None, **added: Tensor
    ) -> Tensor:
        given = {"encoder_hidden_states": states, "added_cond_kwargs": added or None, "return_dict": False}
        more = {}
        if hint is not None and self.control is not None:
            more = self.control(sample, moment, hint, given)
        return self.network(sample, moment, **given, **more)[0]
