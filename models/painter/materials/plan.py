"""Material plan for blank paper: a small network completes the material map at 1/32 scale.

The network sees the whole paper, so a stroke can have distant effects, but only in blank areas. Anchored
noise selects one of many completions. Training uses the best of several guesses (Li and Malik 2018, Implicit
Maximum Likelihood Estimation), so that different noise gives different landscapes.
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

FACTOR = 8  # cells of 4 px per position of the plan, along one axis
INPUTS = MATERIAL_CHANNELS + 1 + 1 + LEVEL_CHANNELS  # materials, covered, height, noise of 1/32 scale


@dataclass(frozen=True)
class PlanConfig:
    """Sizes of a PlanNetwork.

    width: channels. dilations: of the 3x3 convolutions; their sum is the receptive radius in units of 32 px.
    """

    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 4, 2, 1)

    def as_dict(self) -> dict:
        return {"kind": "plan", **asdict(self)}


class PlanNetwork(nn.Module):
    """Convolutional network that predicts material logits (B, 12, H/32, W/32).

    Its inputs are materials, coverage, height and noise at 1/32 scale.
    """

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
        """Predict logits from `seen`, (B, INPUTS, H/32, W/32), see `plan_input`."""
        x = self.stem(seen).relu()
        for block in self.blocks:
            assert isinstance(block, nn.Conv2d)
            reach = block.dilation[0]
            padded = edged(x) if reach == 1 else F.pad(x, (reach,) * 4, mode="replicate")
            x = (block(padded) + x).relu()
        return self.head(x)

    def gflop(self, height_px: int, width_px: int) -> float:
        """GFLOP of one evaluation: two for each multiply-add of the convolutions, in 1e9."""
        weights = sum(m.weight.numel() for m in self.modules() if isinstance(m, nn.Conv2d))
        return 2 * weights * (height_px // 32) * (width_px // 32) / 1e9


def plan_input(materials: Tensor, covered: Tensor, height: Tensor, noise: Tensor) -> Tensor:
    """Input of a PlanNetwork, averaged to 1/32 scale.

    materials: (B, 13, h, w) one-hot times alpha. covered, height: (B, 1, h, w). noise: of 1/32 scale.
    """
    return torch.cat((F.avg_pool2d(torch.cat((materials, covered, height), 1), FACTOR), noise), 1)


@torch.no_grad()
def fill_blanks(condition: MaterialCondition, network: PlanNetwork) -> MaterialCondition:
    """Fill the blank areas of a condition with the network's plan; painted areas are unchanged."""
    covered = condition.means[:, 3:]
    seen = plan_input(condition.materials, covered, condition.height, condition.noise.levels[3])
    shares = network(seen).softmax(1)
    fine = F.interpolate(shares, scale_factor=FACTOR, mode="bilinear", align_corners=False)
    materials = condition.materials.clone()
    materials[:, 1:] += fine * (1 - covered)
    return condition._replace(materials=materials)
