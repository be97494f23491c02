"""Fused forward passes of pretrained blocks against the originals, precomputation, and savings."""

import diffusers
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.benchmarks import frame_cost, fusion_savings, real_models
from models.pretrained.fusion import patching, precompute
from models.pretrained.fusion.prepared_unet import PreparedUNet

pytestmark = pytest.mark.slow  # importing diffusers takes seconds


def small_unet(**options) -> nn.Module:
    torch.manual_seed(0)
    config = {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
        **options,
    }
    return diffusers.UNet2DConditionModel(**config).eval().requires_grad_(False)


def small_coder() -> nn.Module:
    torch.manual_seed(0)
    widths = {"encoder_block_out_channels": (16,) * 4, "decoder_block_out_channels": (16,) * 4}
    return diffusers.AutoencoderTiny(**widths).eval().requires_grad_(False)


def inputs(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 4, 16, 16), torch.randn(batch, 7, 24)


@pytest.mark.parametrize(
    "options",
    [
        {"use_linear_projection": True},
        {"transformer_layers_per_block": 2},
        {"use_linear_projection": True, "transformer_layers_per_block": 3, "attention_head_dim": (4, 8)},
    ],
    ids=str,
)
@torch.no_grad()
def test_fused_unet_is_the_unet(options):
    unet, (x, prompt) = small_unet(**options), inputs(2)
    before = unet(x, torch.tensor(500), prompt).sample
    keys = set(unet.state_dict())
    report = patching.install_fused_passes(unet)
    assert report.fused["ResnetBlock2D"] == 8 and report.fused["Transformer2DModel"] == 4 and not report.left
    assert (unet(x, torch.tensor(500), prompt).sample - before).abs().max() < 1e-4
    assert set(unet.state_dict()) == keys
    patching.restore(unet)
    assert torch.equal(unet(x, torch.tensor(500), prompt).sample, before)
    assert not any("fused" in vars(module) or "forward" in vars(module) for module in unet.modules())


@torch.no_grad()
def test_fused_tiny_autoencoder_is_the_autoencoder():
    coder, picture = small_coder(), torch.rand(1, 3, 64, 48) * 2 - 1
    latent = coder.encode(picture).latents
    out = coder.decode(latent).sample
    assert patching.install_fused_passes(coder).fused == {"EncoderTiny": 1, "DecoderTiny": 1}
    assert (coder.encode(picture).latents - latent).abs().max() < 1e-4
    assert (coder.decode(latent).sample - out).abs().max() < 1e-4


@torch.no_grad()
def test_fused_full_autoencoder_is_the_autoencoder():
    torch.manual_seed(0)
    coder = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    coder = coder.eval().requires_grad_(False)
    picture = torch.rand(1, 3, 24, 16) * 2 - 1
    latent = coder.encode(picture).latent_dist.mode()
    out = coder.decode(latent).sample
    report = patching.install_fused_passes(coder)
    assert report.fused == {"ResnetBlock2D": 2 * 1 + 2 + 2 * 2 + 2, "Upsample2D": 1} and not report.left
    assert (coder.encode(picture).latent_dist.mode() - latent).abs().max() < 1e-4
    assert (coder.decode(latent).sample - out).abs().max() < 1e-4


@pytest.mark.parametrize("upsampling", ["interpolate", "pixel_shuffle"])
@torch.no_grad()
def test_fused_deep_autoencoder_is_the_autoencoder(upsampling):
    """SANA's autoencoder with the blocks of its deep half, at sizes with many and few latent positions."""
    torch.manual_seed(0)
    kinds, scales, widths = ("ResBlock", "EfficientViTBlock"), ((), (5,)), (8, 16)
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("block_types", kinds), ("qkv_multiscales", scales))
    }
    sides |= {f"{side}_block_out_channels": widths for side in ("encoder", "decoder")}
    sides |= {f"{side}_layers_per_block": (1, 2) for side in ("encoder", "decoder")}
    coder = diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        downsample_block_type="Conv",
        upsample_block_type=upsampling,
        **sides,
    )
    for weight in coder.parameters():
        nn.init.normal_(weight, mean=0.02, std=0.2)
    coder = coder.eval().requires_grad_(False)
    pictures = [torch.rand(1, 3, *size) * 2 - 1 for size in ((24, 16), (4, 2))]
    latents = [coder.encode(picture).latent for picture in pictures]
    outs = [coder.decode(latent).sample for latent in latents]
    report = patching.install_fused_passes(coder)
    assert report.fused["DCUpBlock2d"] == (upsampling == "interpolate")
    assert report.fused.total() - report.fused["DCUpBlock2d"] == 2 * 1 + 2 * 4 + 1
    for picture, latent, out in zip(pictures, latents, outs, strict=True):
        assert (coder.encode(picture).latent - latent).abs().max() < 1e-4
        assert (coder.decode(latent).sample - out).abs().max() < 1e-4 * out.abs().max()


@torch.no_grad()
def test_prepared_unet_at_every_timestep():
    unet, (x, prompt) = small_unet(transformer_layers_per_block=2), inputs()
    timesteps = torch.tensor([999, 500, 1])
    expected = [unet(x, t, prompt).sample for t in timesteps]
    prepared = PreparedUNet(unet, timesteps)
    prepared.prompt(prompt)
    for step in (0, 2, 1):
        assert (prepared(x, prepared.rows[step]) - expected[step]).abs().max() < 1e-4
    with pytest.raises(ValueError, match="does not divide by 2"):
        prepared(x[:, :, :15], prepared.rows[0])


@torch.no_grad()
def test_another_prompt_keeps_every_place():
    """A captured graph reads tensors at fixed addresses: a new prompt must be copied into them."""
    unet, (x, prompt) = small_unet(), inputs()
    other = torch.randn_like(prompt)
    expected = unet(x, torch.tensor(7), other).sample
    prepared = PreparedUNet(unet, torch.tensor([7]))
    prepared.prompt(prompt)
    places, moves = kept_places(prepared), prepared.moves
    prepared.prompt(other)
    assert kept_places(prepared) == places and prepared.moves == moves
    assert (prepared(x, prepared.rows[0]) - expected).abs().max() < 1e-4


def kept_places(prepared: PreparedUNet) -> list[int]:
    return [t.data_ptr() for m in prepared.transformers for pair in m.fused.prompts for t in pair]


@torch.no_grad()
def test_a_prompt_of_another_length_moves():
    """A prompt of another length moves the tensors: graphs of the old addresses must not be replayed."""
    unet, (_, prompt) = small_unet(), inputs()
    prepared = PreparedUNet(unet, torch.tensor([7]))
    prepared.prompt(prompt)
    moves = prepared.moves
    prepared.prompt(prompt[:, :5])
    assert prepared.moves > moves


@torch.no_grad()
def test_sdxl_conditions_are_folded_too():
    unet = small_unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 10,
    )
    x, prompt = inputs()
    added = {"text_embeds": torch.randn(1, 10), "time_ids": torch.tensor([[512.0, 512, 0, 0, 512, 512]])}
    expected = unet(x, torch.tensor(999), prompt, added_cond_kwargs=added).sample
    prepared = PreparedUNet(unet, torch.tensor([999]))
    prepared.prompt(prompt, added)
    assert (prepared(x, prepared.rows[0]) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_blocks_set_up_otherwise_keep_their_own_pass():
    unet = small_unet(resnet_time_scale_shift="scale_shift")
    x, prompt = inputs()
    before = unet(x, torch.tensor(3), prompt).sample
    report = patching.install_fused_passes(unet)
    assert report.left == {"ResnetBlock2D: its time embedding is scale_shift": 8}
    assert (unet(x, torch.tensor(3), prompt).sample - before).abs().max() < 1e-4
    with pytest.raises(ValueError, match="time embedding is scale_shift"):
        PreparedUNet(unet, torch.tensor([3]))


@torch.no_grad()
def test_weights_that_change_are_read_anew():
    unet, (x, prompt) = small_unet(), inputs()
    patching.install_fused_passes(unet)
    for weight in unet.parameters():
        weight.mul_(1.05)
    patching.install_fused_passes(unet)
    fused = unet(x, torch.tensor(3), prompt).sample
    patching.restore(unet)
    assert (unet(x, torch.tensor(3), prompt).sample - fused).abs().max() < 1e-4


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsampling_as_four_phases(layout):
    x, conv = torch.randn(2, 5, 7, 6).contiguous(memory_format=layout), nn.Conv2d(5, 4, 3, padding=1)
    with torch.no_grad():
        out = precompute.upsampled_conv(x, precompute.phase_weight(conv.weight), conv.bias.repeat(4))
        expected = conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    saving = precompute.saved_phases(conv.weight, 64, 64)
    assert saving.flops == pytest.approx(5 / 9 * 2 * conv.weight.numel() * 4 * 64 * 64, rel=0.03)


def test_what_the_folds_of_sd_turbo_save():
    """Precomputation saves 32 products and 51 MB of weights for the prompt, 66 launches for the time."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**real_models.SD_TURBO).half().eval().requires_grad_(False)
        prepared = PreparedUNet(unet, torch.empty(1, dtype=torch.int64))
        prompt = torch.empty(1, 77, 1024, dtype=torch.float16)
        prepared.prompt(prompt)
    pairs = [block.attn2 for model in prepared.transformers for block in model.transformer_blocks]
    text = sum((precompute.saved_keys_values(pair, prompt) for pair in pairs), precompute.Saving())
    time = sum((precompute.saved_time_bias(resnet) for resnet in prepared.resnets), precompute.Saving())
    assert (text.launches, time.launches) == (32, 66)
    assert text.bytes == pytest.approx(51e6, rel=0.01)
    packed = precompute.Saving(launches=2 * len(pairs))
    assert prepared.saving == text + time + packed


def test_phases_save_the_deep_autoencoder_products():
    """Five upsampling layers save 5/9 of their multiplications; all other work is unchanged."""
    found = fusion_savings.deep_coder()
    plain, fused = (sum(one.flops for one in found[kind]) for kind in ("plain", "fused"))
    widths = (128, 256, 512, 512, 1024, 1024)
    layers = zip(widths[1:], widths, (256, 128, 64, 32, 16), strict=False)
    saved = [
        precompute.saved_phases(torch.empty(o, i, 3, 3, device="meta"), side, side) for i, o, side in layers
    ]
    assert plain - fused == sum(saved, precompute.Saving()).flops > 0
    assert len(found["fused"]) < 0.6 * len(found["plain"])


def test_half_the_launches():
    """A whole SD-Turbo frame, paper to bytes, has at most half the launches of unmodified `diffusers`."""
    frames = frame_cost.pretrained_frames("sd-turbo")
    ours, theirs = frames["sd-turbo"](), frames["sd-turbo, unmodified"]()
    assert len(ours) <= len(theirs) / 2, (len(ours), len(theirs))
    assert sum(one.flops for one in theirs) == pytest.approx(1067e9, rel=0.005)  # 804 + 122 + 141 GFLOP
    assert sum(one.flops for one in ours) < sum(one.flops for one in theirs)
    assert not any(one.name == "clone" and one.bytes > 70e6 for one in ours)
