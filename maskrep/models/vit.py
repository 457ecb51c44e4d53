"""Vision Transformer, Dosovitskiy et al. 2021, arXiv:2010.11929, that embeds only the patches a mask keeps."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from maskrep.models.position import resampling_matrix

# The papers' code calls PyTorch's trunc_normal_(std=0.02), which cuts at +-2, a hundred deviations: a plain normal.
INIT = nn.initializers.normal(0.02)


def patchify(images: jax.Array, patch_size: int) -> jax.Array:
  """Cuts images [B, H, W, C] into patches [B, N, patch_size * patch_size * C], row by row.

  Raises:
    ValueError: the height or width is not a multiple of `patch_size`.
  """
  b, h, w, c = images.shape
  if h % patch_size or w % patch_size:
    raise ValueError(f'image size {h}x{w} is not a multiple of patch size {patch_size}')
  rows, cols = h // patch_size, w // patch_size
  patches = images.reshape(b, rows, patch_size, cols, patch_size, c).transpose(0, 1, 3, 2, 4, 5)
  return patches.reshape(b, rows * cols, patch_size * patch_size * c)


def dense(features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
  return nn.Dense(features, dtype=dtype, kernel_init=INIT, name=name)


def layer_norm(dtype: jnp.dtype, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name)


class Attention(nn.Module):
  """Multi-head self-attention, [B, T, D] -> [B, T, D]; the softmax is in float32."""

  heads: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    b, t, d = x.shape
    qkv = dense(3 * d, self.dtype, 'qkv')(x).reshape(b, t, 3, self.heads, d // self.heads)
    q, k, v = (qkv[:, :, i] for i in range(3))
    return dense(d, self.dtype, 'proj')(jax.nn.dot_product_attention(q, k, v).reshape(b, t, d))


class Mlp(nn.Module):
  """Two dense layers around an exact GELU, [..., D] -> [..., D]."""

  ratio: float = 4.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    d = x.shape[-1]
    x = nn.gelu(dense(int(d * self.ratio), self.dtype, 'fc1')(x), approximate=False)
    return dense(d, self.dtype, 'fc2')(x)


class DropPath(nn.Module):
  """Stochastic depth, Huang et al. 2016: drops the residual branch of whole examples, scales up the others."""

  rate: float

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    if not train or self.rate == 0:
      return x
    keep = jax.random.bernoulli(self.make_rng('drop_path'), 1 - self.rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / (1 - self.rate), 0)


class Block(nn.Module):
  """Pre-norm transformer block, [B, T, D] -> [B, T, D]."""

  heads: int
  mlp_ratio: float = 4.0
  drop_path: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    drop_path = DropPath(self.drop_path)
    y = Attention(self.heads, self.dtype, name='attn')(layer_norm(self.dtype, 'norm1')(x))
    x = x + drop_path(y, train=train)
    y = Mlp(self.mlp_ratio, self.dtype, name='mlp')(layer_norm(self.dtype, 'norm2')(x))
    return x + drop_path(y, train=train)


class ViT(nn.Module):
  """Patches and a class token through pre-norm blocks and a final LayerNorm.

  Attributes:
    patch_size, width, depth, heads, mlp_ratio: the architecture.
    image_size: height and width of the square image whose patch grid the learned position embeddings have; they are
      resampled bicubically for any other.
    drop_path: rate of stochastic depth at the last block, growing linearly from 0 at the first; needs the rng stream
      'drop_path' in training.
    dtype: of the computation. Parameters, norm statistics, softmax and the returned arrays are float32.
  """

  patch_size: int
  width: int
  depth: int
  heads: int
  mlp_ratio: float = 4.0
  image_size: int = 224
  drop_path: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images, keep_idx=None, *, train: bool = False):
    """Encodes float32 images [B, H, W, 3], or only their patches at int32 keep_idx [B, K], counted row by row.

    Returns:
      Float32 {'cls': [B, D], 'patches': [B, N, D] or, in the order of keep_idx, [B, K, D]}.

    Raises:
      ValueError: the height or width is not a multiple of the patch size.
    """
    b, h, w, _ = images.shape
    patches = patchify(images, self.patch_size)
    grid = (h // self.patch_size, w // self.patch_size)
    native = (self.image_size // self.patch_size,) * 2

    cls = self.param('cls', INIT, (1, 1, self.width))
    pos = self.param('pos', INIT, (1 + native[0] * native[1], self.width))
    cls_pos, patch_pos = pos[:1], pos[1:]
    if grid != native:
      patch_pos = jnp.dot(resampling_matrix(grid, native), patch_pos, precision='highest')
    if keep_idx is not None:
      patches = jnp.take_along_axis(patches, keep_idx[..., None], axis=1)
      patch_pos = patch_pos[keep_idx]

    x = dense(self.width, self.dtype, 'embed')(patches) + patch_pos
    x = jnp.concatenate([jnp.broadcast_to(cls + cls_pos, (b, 1, self.width)), x], axis=1).astype(self.dtype)
    for i, rate in enumerate(np.linspace(0, self.drop_path, self.depth)):
      x = Block(self.heads, self.mlp_ratio, float(rate), self.dtype, name=f'block{i}')(x, train=train)
    x = layer_norm(jnp.float32, 'norm')(x)
    return {'cls': x[:, 0], 'patches': x[:, 1:]}
