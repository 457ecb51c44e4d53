"""What of an encoder's outputs represents the image."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from maskrep.models.transformer import Block, layer_norm
from maskrep.models.vit import ViT

POOLING = 'class_token', 'average', 'both'


def pooled(out: dict[str, jax.Array], pooling: str) -> jax.Array:
  """Class token, average of the patches, or one beside the other: {'cls': [B, D], 'patches': [B, K, D]} -> [B, D]."""
  parts = {'class_token': out['cls'], 'average': out['patches'].mean(axis=1)}
  return jnp.concatenate(list(parts.values()), axis=-1) if pooling == 'both' else parts[pooling]


def represent(
  encoder: nn.Module, variables: dict, images: jax.Array, keep_idx: jax.Array | None = None, *, pooling: str,
  layers: int,
) -> jax.Array:
  """Float32 images [B, H, W, 3] -> [B, D], or the last `layers` blocks side by side, in their order, [B, layers * D].

  Each block goes through the encoder's final norm (DINO, arXiv:2104.14294, appendix F.2, and MSN's code).

  Args:
    encoder, variables: the module and its parameters, with running statistics where it has them.
    keep_idx: int32 [B, K], the patches that are seen; None is all. Not of a ResNet.
    pooling: of `POOLING`, for each block.
    layers: more than one is for a ViT alone.

  Raises:
    ValueError: there are not so many layers, or the encoder has none to give.
  """
  masks = () if keep_idx is None else (keep_idx,)
  if layers == 1:
    return pooled(encoder.apply(variables, images, *masks), pooling)
  if not isinstance(encoder, ViT) or not 1 <= layers <= encoder.depth:
    depth = encoder.depth if isinstance(encoder, ViT) else 1
    raise ValueError(f'layers={layers}: must be in 1 ... {depth} for this encoder')
  out, seen = encoder.clone(scan=False).apply(
    variables, images, *masks, capture_intermediates=lambda module, _: isinstance(module, Block))
  norm = layer_norm(jnp.float32, None)
  blocks = [seen['intermediates'][f'block{i}']['__call__'][0] for i in range(encoder.depth - layers, encoder.depth - 1)]
  normed = [norm.apply({'params': variables['params']['norm']}, x) for x in blocks]
  found = [pooled({'cls': x[:, 0], 'patches': x[:, 1:]}, pooling) for x in normed]
  return jnp.concatenate([*found, pooled(out, pooling)], axis=-1)
