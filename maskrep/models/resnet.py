"""ResNet, He et al. 2016, arXiv:1512.03385, as in torchvision: version 1.5, with the stride in the 3x3."""

from typing import Annotated, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from maskrep.models.norm import BatchNorm
from maskrep.schema import OneOf, Positive, check

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 200: (3, 24, 36, 3)}
BOTTLENECK = {18: False, 34: False, 50: True, 101: True, 200: True}
STEMS = 'imagenet', 'small'

he = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def conv(features: int, kernel: int, stride: int, dtype: jnp.dtype, name: str) -> nn.Conv:
  """A convolution without bias, padded equally on both sides as in PyTorch ('SAME' pads even sizes more at the end)."""
  return nn.Conv(features, (kernel, kernel), stride, padding=kernel // 2, use_bias=False, dtype=dtype, kernel_init=he,
                 name=name)


class Block(nn.Module):
  """Residual block, [B, H, W, C] -> [B, H / stride, W / stride, D]: two 3x3, or 1x1, 3x3, 1x1 with a bottleneck.

  A bottleneck has a quarter of `features`. If the shape changes, the shortcut is a 1x1 convolution with a norm.
  """

  features: int
  stride: int
  bottleneck: bool
  dtype: jnp.dtype = jnp.float32
  last_scale: nn.initializers.Initializer = nn.initializers.ones

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    f, s = self.features, self.stride
    layers = [(f // 4, 1, 1), (f // 4, 3, s), (f, 1, 1)] if self.bottleneck else [(f, 3, s), (f, 3, 1)]
    y = x
    for i, layer in enumerate(layers, 1):
      last = i == len(layers)
      y = conv(*layer, self.dtype, f'conv{i}')(y)
      y = BatchNorm(self.last_scale if last else nn.initializers.ones, name=f'bn{i}')(y, train=train)
      y = (y if last else nn.relu(y)).astype(self.dtype)
    if s > 1 or x.shape[-1] != f:
      x = conv(f, 1, s, self.dtype, 'shortcut_conv')(x)
      x = BatchNorm(name='shortcut_bn')(x, train=train).astype(self.dtype)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A stem, four stages of residual blocks, and the average of the last feature map.

  Attributes:
    depth: 18, 34, 50, 101 or 200 layers.
    width: multiplier of the channels of all layers, including the stem (as in SimCLR and BYOL; not torchvision's
      wide_resnet).
    stem: 'imagenet', a 7x7 of stride 2 and a max-pool; 'small', a 3x3 of stride 1, for images of about 32 pixels
      (SimCLR, arXiv:2002.05709, appendix B.9).
    zero_init_residual: blocks start as the identity, as their last norm has scale 0 (arXiv:1706.02677, section 5.1).
    dtype: dtype of the computation. Parameters, statistics and the returned arrays are float32.
  """

  depth: Annotated[int, OneOf(STAGES)]
  width: Positive = 1.0
  stem: Annotated[str, OneOf(STEMS)] = 'imagenet'
  zero_init_residual: bool = False
  dtype: jnp.dtype = jnp.float32

  drops_patches: ClassVar[bool] = False
  batch_norm: ClassVar[bool] = True
  patches_reach_end, feature_layers = True, 1

  def __post_init__(self):
    check(self)
    if 64 * self.width % 1:
      raise ValueError(f'width={self.width}: must be a multiple of 1/64, for a whole number of channels')
    super().__post_init__()

  @property
  def block_names(self) -> tuple[str, ...]:
    """Names of the blocks in the parameters, from input to output."""
    return tuple(f'layer{stage}_{i}' for stage, count in enumerate(STAGES[self.depth], 1) for i in range(count))

  @nn.compact
  def __call__(self, images, *, train: bool = False):
    """Encodes float32 images [B, H, W, 3]; with `train`, by the batch's statistics, which update the running ones.

    Returns:
      Float32 {'cls': [B, D], the average over the feature map; 'patches': [B, h * w, D], the map row by row}. D is 2048
      (512 for 18 and 34 layers) times the width; h is H / 32 rounded up, or H / 8 with the small stem.
    """
    channels = int(64 * self.width)
    x = images.astype(self.dtype)
    x = conv(channels, *((7, 2) if self.stem == 'imagenet' else (3, 1)), self.dtype, 'conv1')(x)
    x = nn.relu(BatchNorm(name='bn1')(x, train=train)).astype(self.dtype)
    if self.stem == 'imagenet':
      # Flax types `padding` only as a string.
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]

    bottleneck = BOTTLENECK[self.depth]
    last_scale = nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones
    for stage, blocks in enumerate(STAGES[self.depth]):
      for i in range(blocks):
        features = channels * 2**stage * (4 if bottleneck else 1)
        stride = 2 if stage and not i else 1
        x = Block(features, stride, bottleneck, self.dtype, last_scale, name=f'layer{stage + 1}_{i}')(x, train=train)
    x = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
    return {'cls': x.mean(axis=1), 'patches': x}
