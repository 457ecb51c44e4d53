"""Compares the sizes of a network with its file of weights, before anything of such a size is computed.

Sizes may come from a JSON file that anybody can edit. Each must be consistent with the arrays of the file.
"""

from collections.abc import Iterator
import math

from maskrep.errors import ConfigError
from maskrep.models.resnet import ResNet
from maskrep.models.vqgan import VQGAN
from maskrep.types import Network
from maskrep.weights.pretrained import IMAGENET, MAX_DEPTH, ForeignNetwork, module, part, shapes

MAX_SIDE = 2048  # pixels of an image
MAX_ATTENTION = 1 << 29  # heads x tokens x tokens of an image: 2 GiB of float32
SMALL_LENGTH = 1 << 16  # of an axis: no obstacle whatever the file
SMALL_NETWORK = 1 << 24  # numbers: `--allow` may initialise these and as many as the file holds


def checked_shapes(network: ForeignNetwork) -> dict[str, tuple[int, ...]]:
  """The shapes of a network's arrays, by our flat names; nothing is computed.

  Raises:
    ConfigError: its sizes are impossible, or its file holds far fewer arrays, shorter ones, or fewer numbers.
  """
  built, name = module(network.kind, network.config), part(network.kind)
  arrays = [array for array in network.state.values() if array.size]
  numbers = sum(array.size for array in arrays)
  _check_sides(name, network)
  blocks, most = _blocks(built), min(len(arrays), MAX_DEPTH)
  if blocks > most:
    raise ConfigError(f'{name} has {blocks} blocks, and at most {most} fit a file of {len(arrays)} arrays')
  longest = max((max(array.shape, default=1) for array in arrays), default=1)
  for field, length in _lengths(built):
    if length > max(longest, SMALL_LENGTH):
      raise ConfigError(f'{name}.{field}={getattr(built, field)} needs arrays of length {length:.0f}, and the longest '
                        f'of the file is {longest}')
  heads, tokens = _attention(built, network)
  if heads * tokens**2 > MAX_ATTENTION:
    raise ConfigError(f'{name} has attention between {tokens} patches with {heads} heads, which needs '
                      f'{heads * tokens**2 * 4 / 2**30:.0f} GiB per block')
  if tokens * getattr(built, 'width', 1) > 2 * numbers + SMALL_NETWORK:
    raise ConfigError(f'{name}.image_size={built.image_size}: has {tokens} positions of width {built.width}, more '
                      f'numbers than fit a file of {numbers}')
  wanted = shapes(network.kind, network.config)
  total = sum(math.prod(shape) for shape in wanted.values())
  if total > 2 * numbers + SMALL_NETWORK:
    raise ConfigError(f'{name} has {total} numbers, and the file {numbers}: too few for such a network, even with '
                      '--allow')
  return wanted


def check_side(name: str, side: int) -> None:
  """Raises ConfigError if images of `side` pixels are larger than those of any encoder."""
  if side > MAX_SIDE:
    raise ConfigError(f'{name}={side}: must be at most {MAX_SIDE} pixels')


def _check_sides(name: str, network: ForeignNetwork) -> None:
  check_side(f'{name}.image_size', network.config.get('image_size', 1))
  if network.preprocessing is not None:
    check_side('preprocessing.size', network.preprocessing.size)


def _blocks(built: Network) -> int:
  """The number of blocks; tracing these takes time even if nothing is computed."""
  if isinstance(built, VQGAN):
    return len(built.multipliers) * (built.encoder_blocks + built.decoder_blocks)
  if isinstance(built, ResNet):
    return len(built.block_names)
  return built.depth + getattr(built, 'class_depth', 0)


def _lengths(built: Network) -> Iterator[tuple[str, float]]:
  """Fields, and the lengths of the array axes that they imply."""
  if isinstance(built, VQGAN):
    yield from (('channels', built.channels), ('multipliers', built.channels * max(built.multipliers)),
                ('embedding', built.embedding), ('codebook_size', built.codebook_size))
  elif isinstance(built, ResNet):
    yield 'width', 64 * built.width
  else:
    yield from (('width', built.width), ('mlp_ratio', built.width * built.mlp_ratio), ('patch_size', built.patch_size))


def _attention(built: Network, network: ForeignNetwork) -> tuple[int, int]:
  """The heads and tokens of the largest attention between patches; (0, 0) if there is none."""
  if isinstance(built, ResNet) or getattr(built, 'design', '') == 'maskgit':
    return 0, 0
  if isinstance(built, VQGAN):
    side = (network.preprocessing or IMAGENET).size
    level = min((*built.attention_levels, len(built.multipliers) - 1))
    return 1, (side >> level)**2
  return built.heads, (built.image_size // built.patch_size)**2
