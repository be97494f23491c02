"""The plan for blank paper: a small network completes the map of materials at 1/32 scale.

It sees what is painted anywhere on the paper, so in blank places, and only there, a stroke may reach far.
Anchored noise picks one of many completions; it is trained as the best of several guesses (Li and Malik
2018, Implicit Maximum Likelihood Estimation), so that different noise gives different landscapes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.api import MATERIALS
from models.painter.materials.condition import MATERIAL_CHANNELS, MaterialCondition
from models.painter.materials.network import edged
from models.painter.materials.noise import LEVEL_CHANNELS

FACTOR = 8  # cells of 4 px along a place of the plan
INPUTS = MATERIAL_CHANNELS + 1 + 1 + LEVEL_CHANNELS  # materials, covered, height, noise of 1/32 scale


@dataclass(frozen=True)
class PlanConfig:
    """width: channels. dilations: of the 3x3 convolutions, whose sum is how far a place sees, in 32 px."""

    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 4, 2, 1)

    def as_dict(self) -> dict:
        return {"kind": "plan", **asdict(self)}


class PlanNetwork(nn.Module):
    """Materials, height and noise at 1/32 scale -> logits (B, 12, H/32, W/32) of the materials there."""

    def __init__(self, config: PlanConfig | None = None):
        super().__init__()
        self.config = config = config or PlanConfig()
        self.stem = nn.Conv2d(INPUTS, config.width, 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(config.width, config.width, 3, dilation=reach) for reach in config.dilations
        )
        self.head = nn.Conv2d(config.width, len(MATERIALS), 1)
        for weight in self.blocks.parameters():
            weight.data.mul_(0.5)

    def forward(self, seen: Tensor) -> Tensor:
        """seen: (B, INPUTS, H/32, W/32), see `plan_input`."""
        x = self.stem(seen).relu()
        for block in self.blocks:
            assert isinstance(block, nn.Conv2d)
            reach = block.dilation[0]
            padded = edged(x) if reach == 1 else F.pad(x, (reach,) * 4, mode="replicate")
            x = (block(padded) + x).relu()
        return self.head(x)

    def gflop(self, height_px: int, width_px: int) -> float:
        """Counted multiply-adds, times two, in 1e9; convolutions only."""
        weights = sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d))
        return 2 * weights * (height_px // 32) * (width_px // 32) / 1e9


def plan_input(materials: Tensor, covered: Tensor, height: Tensor, noise: Tensor) -> Tensor:
    """materials: (B, 13, h, w) one-hot times alpha. covered, height: (B, 1, h, w). noise: of 1/32 scale."""
    return torch.cat((F.avg_pool2d(torch.cat((materials, covered, height), 1), FACTOR), noise), 1)


@torch.no_grad()
def fill_blanks(condition: MaterialCondition, network: PlanNetwork) -> MaterialCondition:
    """The condition with the network's plan in its blank places; painted places stay as they are."""
    covered = condition.means[:, 3:]
    seen = plan_input(condition.materials, covered, condition.height, condition.noise.levels[3])
    shares = network(seen).softmax(1)
    fine = F.interpolate(shares, scale_factor=FACTOR, mode="bilinear", align_corners=False)
    materials = condition.materials.clone()
    materials[:, 1:] += fine * (1 - covered)
    return condition._replace(materials=materials)
