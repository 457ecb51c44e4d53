"""The layers of an encoder, counted from its input: what layer-wise learning rates and partial fine-tuning go by."""

from flax import linen as nn

from maskrep.models.cait import CaiT
from maskrep.models.resnet import STAGES, ResNet


def blocks(encoder: nn.Module) -> tuple[str, ...]:
  """The names of the blocks of a ViT, CaiT or ResNet among its parameters, in their order."""
  if isinstance(encoder, ResNet):
    return tuple(f'layer{stage}_{i}' for stage, count in enumerate(STAGES[encoder.depth], 1) for i in range(count))
  trunk = tuple(f'block{i}' for i in range(encoder.depth))
  if isinstance(encoder, CaiT) and encoder.instance == 'class_attention':
    trunk += tuple(f'class_block{i}' for i in range(encoder.class_depth))
  return trunk


def layer(encoder: nn.Module, name: str) -> int:
  """Where the parameters of this name stand: 0 is before the L blocks, 1 ... L are they, L + 1 is the final norm."""
  names = blocks(encoder)
  if name == 'norm':
    return len(names) + 1
  return names.index(name) + 1 if name in names else 0
