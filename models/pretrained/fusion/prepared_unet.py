"""UNet with keys, values and time biases precomputed for one prompt and fixed timesteps.

Strength, seed and latents stay inputs, and so does the row of biases of a step. The tensors of keys and
values keep their address when the prompt changes, so a captured graph stays valid. It must be captured again
when weights change or when `moves` has increased.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from models.pretrained.fusion import patching, precompute
from models.pretrained.fusion.checks import norm_of
from models.pretrained.fusion.precompute import Block, Saving


class Row(threading.local):
    """Biases of the running step, one per thread: a graph can be captured while frames are rendered."""

    biases: Tensor | None = None


class PreparedUNet:
    """UNet2DConditionModel with fused passes, prepared for given timesteps.

    timesteps: (steps,) as the scheduler gives them. Raises ValueError if a block cannot be fused.
    """

    def __init__(self, unet: Block, timesteps: Tensor):
        report = patching.install_fused_passes(unet)
        if report.left:
            raise ValueError("cannot prepare this UNet: " + "; ".join(report.left))
        self.unet, self.timesteps = unet, timesteps
        self.row, self.rows = Row(), []  # rows: one tensor for each timestep
        self.moves = 0  # how often keys and values got new addresses
        self.resnets = self._of_type("ResnetBlock2D")
        self.transformers = self._of_type("Transformer2DModel")
        self.saving = Saving()

    def _of_type(self, name: str) -> list[Block]:
        return [module for module in self.unet.modules() if type(module).__name__ == name]

    @torch.no_grad()
    def prompt(self, embedding: Tensor, added: dict[str, Tensor] | None = None) -> None:
        """Set the prompt: (1, T, C) from the text encoder, and SDXL's conditions (text_embeds, time_ids).

        Computes keys and values of every cross-attention and the time biases of every residual block.
        """
        unet = self.unet
        self.saving = Saving()
        states = unet.process_encoder_hidden_states(encoder_hidden_states=embedding, added_cond_kwargs=added)
        for model in self.transformers:
            pairs = [precompute.prompt_keys_values(block.attn2, states) for block in model.transformer_blocks]
            self.moves += precompute.keep(model.fused, "prompts", pairs)
            for block in model.transformer_blocks:
                self.saving += precompute.saved_keys_values(block.attn2, states) + precompute.SAVED_PACKED
        embeddings = [self._time_embedding(t, embedding, added) for t in self.timesteps]
        self.rows = [
            torch.cat([precompute.time_bias(resnet, embedding) for resnet in self.resnets])
            for embedding in embeddings
        ]
        begin = 0
        for resnet in self.resnets:
            end = begin + resnet.conv1.out_channels
            resnet.fused.place, resnet.fused.row = (
                slice(begin, end),
                self.row,
            )  # the place is used only with a row
            self.saving += precompute.saved_time_bias(resnet)
            begin = end

    def _time_embedding(self, t: Tensor, embedding: Tensor, added: dict[str, Tensor] | None) -> Tensor:
        unet = self.unet
        # only the dtype of the sample is used
        wave = unet.get_time_embed(sample=embedding[:1], timestep=t)
        emb = unet.time_embedding(wave)
        more = unet.get_aug_embed(emb=emb, encoder_hidden_states=embedding, added_cond_kwargs=added)
        emb = emb if more is None else emb + more
        return emb if unet.time_embed_act is None else unet.time_embed_act(emb)

    def __call__(self, sample: Tensor, biases: Tensor) -> Tensor:
        """Run the UNet on (1, C, H, W) at the step of these biases, one of `rows`.

        Raises ValueError unless H and W are multiples of the UNet's overall scale.
        """
        unet, self.row.biases = self.unet, biases
        if any(side % 2**unet.num_upsamplers for side in sample.shape[2:]):
            raise ValueError(
                f"a latent of {tuple(sample.shape[2:])} does not divide by {2**unet.num_upsamplers}"
            )
        x = unet.conv_in(sample)
        kept = [x]
        for block in unet.down_blocks:
            x, skips = block(hidden_states=x, temb=None)
            kept += skips
        if unet.mid_block is not None:
            x = unet.mid_block(x, None)
        for block in unet.up_blocks:
            count = len(block.resnets)
            x = block(hidden_states=x, temb=None, res_hidden_states_tuple=tuple(kept[-count:]))
            del kept[-count:]
        return unet.conv_out(norm_of(x, unet.conv_norm_out))
