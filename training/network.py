"""UnsuperPoint, the network (Christiansen et al. 2019, arXiv:1907.04011).

One definition serves every model; the widths are parameters. For each 8x8 cell the
network gives a score, a sub-pixel position and, through a descriptor map, a descriptor.
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
    """Widths and choices of one network."""

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
    # Blocks at stride 8 but the first, and the heads' hidden one, in two steps: a 3x3
    # window for each channel, then 1x1 over channels (MobileNet, arXiv:1704.04861).
    separable: bool = False
    descriptor_stride: int = 8  # 4: upsampled and joined with the stage at stride 4
    # Half the range of a position, in cells, around its cell's centre. 0.5 keeps a
    # point in its own cell (the paper's sigmoid); more lets it cross the border (KP2D).
    position_reach: float = 0.5
    leak: float = 0.01  # slope of the leaky ReLU below zero
    refine_width: int = 0  # hidden values of the refinement; 0: the model has none

    def __post_init__(self) -> None:
        stages = tuple(tuple(widths) for widths in self.stages)  # JSON gives lists
        object.__setattr__(self, "stages", stages)
        if len(self.stages) != 4 or not self.stages[2] or not self.stages[3]:
            raise ValueError(
                "stages must be four, with layers at strides 4 and 8, "
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
# The form of `small` at under half its arithmetic, for ORB's place.
TINY = replace(
    SMALL,
    name="tiny",
    stages=((), (), (16, 24), (64, 96, 96, 96, 96)),
    score_width=24,
    position_width=24,
)
CONFIGS = {config.name: config for config in (BASE, SMALL, TINY)}


class DenseOutput(NamedTuple):
    """What the network says of every cell.

    score_logits: (B, 1, H/8, W/8); the sigmoid of a logit is the score.
    positions: (B, 2, H/8, W/8), x then y, pixels of the input, (0, 0) the centre of the
        top-left pixel.
    descriptor_map: (B, D, H/s, W/s), not normalised; sample it at the positions.
    """

    score_logits: Tensor
    positions: Tensor
    descriptor_map: Tensor


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, (leaky) ReLU."""

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
    """A block of 3x3; at a stride of 4 of 7x7, so that neighbouring windows overlap.

    Args:
        stride: of the block.
        scale: pixels between neighbouring outputs of the block.
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
    """Hidden 3x3 block of all heads in one, then a convolution for each map.

    As in the paper each head reads its own share of the hidden channels; one wide
    convolution is the same arithmetic as three narrow ones, and faster.
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
        """(B, C, h, w) to score logits, raw positions and descriptors."""
        hidden = self.hidden(x)
        if self.shares is None:
            score = position = descriptor = hidden
        else:
            score, position, descriptor = hidden.split(self.shares, dim=1)
        # Logits and positions stay float32 under autocast: half a float16 step is
        # 0.25 px beyond 512 px, and bfloat16 is coarser still.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.score(score.to(self.score.weight.dtype))
            raw = self.position(position.to(self.position.weight.dtype))
        return logits, raw, self.descriptor(descriptor)


class Upsampler(nn.Module):
    """Descriptor map at stride 4 from the map at stride 8 and the backbone's stride 4.

    Pixel shuffle and skip connection as in KP2D (arXiv:1912.10615, "descriptor
    upsampling"), reduced to two 1x1 convolutions.
    """

    def __init__(self, channels: int, channels_skip: int):
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.skip = nn.Conv2d(channels_skip, channels, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, D, h, w) and (B, C, 2h, 2w) to (B, D, 2h, 2w)."""
        return F.pixel_shuffle(self.expand(coarse), 2) + self.skip(fine)


class UnsuperPoint(nn.Module):
    """Backbone and the three heads; `forward` ends at dense maps."""

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
                stride *= 2  # a stage without layers leaves it to the next one
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
        """Dense maps of a batch.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], BGR, H and W multiples of 8.
        """
        return self.from_normalized((image - PIXEL_MEAN) / PIXEL_SCALE)

    def from_normalized(self, x: Tensor) -> DenseOutput:
        """The same from an image that is already shifted and scaled."""
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
    """Positions in pixels from positions relative to their cells.

    Eq. 1 of the paper, x = 8 (c + p_x), with the half pixel that puts (0, 0) on the
    centre of the top-left pixel: x = 8 (c + p_x) - 0.5.

    Args:
        relative: (B, 2, h, w), x then y, in cells; [0, 1] inside the own cell.
    """
    height, width = relative.shape[-2:]
    # Whole numbers first: OpenCV's DNN does not read a Range of floats.
    columns = torch.arange(width, device=relative.device).float()
    rows = torch.arange(height, device=relative.device).float()
    x = STRIDE * (relative[:, 0] + columns) - 0.5
    y = STRIDE * (relative[:, 1] + rows[:, None]) - 0.5
    return torch.stack((x, y), dim=1)


def to_relative(positions: Tensor) -> Tensor:
    """Inverse of `to_pixels`: (B, 2, h, w) pixels to cells."""
    return (positions - to_pixels(torch.zeros_like(positions))) / STRIDE


def count_flop(config: NetworkConfig, height: int, width: int) -> int:
    """Floating-point operations (2 x MAC) of the convolutions for one image."""
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
