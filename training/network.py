"""The UnsuperPoint network (Christiansen et al. 2019, arXiv:1907.04011).

One definition serves every model; the widths are parameters. For each 8x8 cell the
network predicts a score, a sub-pixel position and, via a descriptor map, a descriptor.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpextract.image import STRIDE
from training.refinement import Refiner

# The paper shifts [0, 1] by 0.5 and scales by 0.225; every public implementation
# divides.
PIXEL_MEAN = 0.5
PIXEL_SCALE = 0.225


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and options of one network."""

    name: str
    stages: tuple[tuple[int, ...], ...]  # widths of the 3x3 convs at strides 1, 2, 4, 8
    # "pool": 2x2 max-pool before a stage; "stride": its first conv has stride 2.
    downsample: str
    score_width: int  # hidden channels of each head
    position_width: int
    descriptor_width: int
    descriptor_dim: int
    shared_hidden: bool = False  # each head reads the hidden channels of all three
    head_kernel: int = 3  # of the last convolution of the score and position heads
    descriptor_kernel: int = 3  # of the last convolution of the descriptor head
    # Depthwise 3x3, then pointwise 1x1, in the hidden block of the heads and in all but
    # the first block at stride 8 (MobileNet, arXiv:1704.04861).
    separable: bool = False
    descriptor_stride: int = 8  # 4: upsampled, with a skip from the stage at stride 4
    # Half the range of a position around its cell's center, in cells. 0.5 keeps a point
    # in its own cell (the paper's sigmoid); more lets it cross the border (KP2D).
    position_reach: float = 0.5
    leak: float = 0.01  # slope of the leaky ReLU below zero
    refine_width: int = 0  # hidden width of the refinement; 0: no refinement

    def __post_init__(self) -> None:
        stages = tuple(tuple(widths) for widths in self.stages)  # JSON gives lists
        object.__setattr__(self, "stages", stages)
        if len(self.stages) != 4 or not self.stages[2] or not self.stages[3]:
            raise ValueError(
                "there must be four stages, with layers at strides 4 and 8, "
                f"got {self.stages}."
            )
        if self.downsample not in ("pool", "stride"):
            raise ValueError(
                f"downsample must be pool or stride, got {self.downsample}."
            )
        if self.descriptor_stride not in (STRIDE, STRIDE // 2):
            raise ValueError(
                f"descriptor_stride must be {STRIDE} or {STRIDE // 2}, "
                f"got {self.descriptor_stride}."
            )


BASE = NetworkConfig(
    name="base",
    stages=((32, 32), (64, 64), (128, 128), (256, 256)),
    downsample="pool",
    score_width=256,
    position_width=256,
    descriptor_width=256,
    descriptor_dim=256,
)
SMALL = NetworkConfig(
    name="small",
    stages=((), (), (32, 32), (96, 128, 128, 128, 128, 128)),
    downsample="stride",
    score_width=32,
    position_width=32,
    descriptor_width=64,
    descriptor_dim=64,
    position_reach=0.7,
    leak=0.0,  # plain ReLU: cheaper in int8
    separable=True,
    descriptor_kernel=1,
    refine_width=64,
)
# The layout of `small` at less than half its FLOPs, as a replacement for ORB.
TINY = replace(
    SMALL,
    name="tiny",
    stages=((), (), (16, 16), (64, 96, 96, 96)),
    score_width=24,
    position_width=24,
    head_kernel=1,  # wider ones stay in float32 in int8, and take as long as the stem
)
CONFIGS = {config.name: config for config in (BASE, SMALL, TINY)}


class DenseOutput(NamedTuple):
    """Dense maps of the network, one entry per cell.

    score_logits: (B, 1, H/8, W/8); the sigmoid of a logit is the score.
    positions: (B, 2, H/8, W/8), x then y, in pixels of the input; (0, 0) is the center
        of the top-left pixel.
    descriptor_map: (B, D, H/s, W/s), not normalized; sample it at the positions.
    """

    score_logits: Tensor
    positions: Tensor
    descriptor_map: Tensor


class ConvBlock(nn.Sequential):
    """Convolution, batch norm and (leaky) ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        leak: float,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
    ):
        super().__init__(
            nn.Conv2d(
                channels_in, channels_out, kernel, stride, kernel // 2, groups=groups
            ),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(leak, inplace=True) if leak else nn.ReLU(inplace=True),
        )


def make_block(
    channels_in: int, channels_out: int, config: NetworkConfig, stride: int, scale: int
) -> nn.Module:
    """Make a 3x3 block, or 7x7 at stride 4, so that neighboring windows overlap.

    Args:
        stride: of the block.
        scale: stride of the block's output relative to the image.
    """
    leak = config.leak
    if config.separable and scale == STRIDE and stride == 1:
        return nn.Sequential(
            ConvBlock(channels_in, channels_in, leak, groups=channels_in),
            ConvBlock(channels_in, channels_out, leak, kernel=1),
        )
    kernel = 3 if stride <= 2 else 2 * stride - 1
    return ConvBlock(channels_in, channels_out, leak, kernel=kernel, stride=stride)


class Heads(nn.Module):
    """One hidden 3x3 block for all heads, then one convolution per map.

    As in the paper, each head reads its own hidden channels; one wide convolution is
    the same arithmetic as three narrow ones, and faster.
    """

    def __init__(self, channels: int, config: NetworkConfig):
        super().__init__()
        own = (config.score_width, config.position_width, config.descriptor_width)
        self.shares = None if config.shared_hidden else own
        self.hidden = make_block(channels, sum(own), config, stride=1, scale=STRIDE)
        score, position, descriptor = (sum(own),) * 3 if config.shared_hidden else own
        kernel = config.head_kernel
        self.score = nn.Conv2d(score, 1, kernel, padding=kernel // 2)
        self.position = nn.Conv2d(position, 2, kernel, padding=kernel // 2)
        kernel = config.descriptor_kernel
        self.descriptor = nn.Conv2d(
            descriptor, config.descriptor_dim, kernel, padding=kernel // 2
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, C, h, w) features to score logits, raw positions and descriptors."""
        hidden = self.hidden(x)
        if self.shares is None:
            score = position = descriptor = hidden
        else:
            score, position, descriptor = hidden.split(self.shares, dim=1)
        # Logits and positions stay float32 under autocast: float16 rounds by up to
        # 0.25 px beyond 512 px, and bfloat16 is coarser still.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.score(score.to(self.score.weight.dtype))
            raw = self.position(position.to(self.position.weight.dtype))
        return logits, raw, self.descriptor(descriptor)


class Upsampler(nn.Module):
    """Upsampling of the descriptor map from stride 8 to 4, with a skip connection.

    Pixel shuffle and skip connection as in KP2D (arXiv:1912.10615, "descriptor
    upsampling"), reduced to two 1x1 convolutions.
    """

    def __init__(self, channels: int, channels_skip: int):
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.skip = nn.Conv2d(channels_skip, channels, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map (B, D, h, w) and (B, C, 2h, 2w) to (B, D, 2h, 2w)."""
        return F.pixel_shuffle(self.expand(coarse), 2) + self.skip(fine)


class UnsuperPoint(nn.Module):
    """Backbone, three heads and an optional refiner; `forward` returns dense maps."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList()
        channels, stride = 3, 1
        for index, widths in enumerate(config.stages):
            blocks: list[nn.Module] = []
            if index and config.downsample == "pool":
                blocks.append(nn.MaxPool2d(2))
            elif index:
                stride *= 2  # an empty stage passes its stride to the next
            for width in widths:
                blocks.append(make_block(channels, width, config, stride, 2**index))
                channels, stride = width, 1
            self.stages.append(nn.Sequential(*blocks))
        self.heads = Heads(channels, config)
        self.upsample = (
            Upsampler(config.descriptor_dim, config.stages[2][-1])
            if config.descriptor_stride == STRIDE // 2
            else None
        )
        self.refiner = Refiner(config.refine_width) if config.refine_width else None

    def forward(self, image: Tensor) -> DenseOutput:
        """Compute the dense maps of a batch of images.

        Args:
            image: (B, 3, H, W) float32 BGR in [0, 1]; H and W are multiples of 8.
        """
        return self.from_normalized((image - PIXEL_MEAN) / PIXEL_SCALE)

    def from_normalized(self, x: Tensor) -> DenseOutput:
        """Compute the dense maps of images that are already shifted and scaled."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        logits, raw, descriptor_map = self.heads(x)
        if self.upsample is not None:
            descriptor_map = self.upsample(descriptor_map, features[2])
        relative = 0.5 + self.config.position_reach * torch.tanh(raw)
        return DenseOutput(logits, to_pixels(relative), descriptor_map)


def to_pixels(relative: Tensor) -> Tensor:
    """Convert positions relative to their cells to pixels.

    Eq. 1 of the paper, x = 8 (c + p_x), shifted by half a pixel to put (0, 0) at the
    center of the top-left pixel: x = 8 (c + p_x) - 0.5.

    Args:
        relative: (B, 2, h, w), x then y, in cells; [0, 1] spans the cell itself.
    """
    height, width = relative.shape[-2:]
    # Integers first: OpenCV's DNN does not support a Range of floats.
    columns = torch.arange(width, device=relative.device).float()
    rows = torch.arange(height, device=relative.device).float()
    x = STRIDE * (relative[:, 0] + columns) - 0.5
    y = STRIDE * (relative[:, 1] + rows[:, None]) - 0.5
    return torch.stack((x, y), dim=1)


def to_relative(positions: Tensor) -> Tensor:
    """Invert `to_pixels`: convert (B, 2, h, w) pixels to cells."""
    return (positions - to_pixels(torch.zeros_like(positions))) / STRIDE


def count_flop(config: NetworkConfig, height: int, width: int) -> int:
    """Count the floating-point operations (2 x MAC) of the convolutions per image."""
    total = 0

    def add(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += 2 * output[0].numel() * module.weight[0].numel()

    network = UnsuperPoint(config).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(1, 3, height, width))
    return total
