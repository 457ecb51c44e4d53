"""An encoder or tokenizer on its own, without the run that trained it."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from maskrep import schema
from maskrep.errors import ConfigError
from maskrep.models import encoder
from maskrep.models.encoder import Kind, Preprocessing
from maskrep.models.vqgan import VQGAN
from maskrep.types import Network, Params
from maskrep.weights.names import Arrays

KINDS = encoder.KINDS | {
  'vqgan': Kind(VQGAN, ('channels', 'multipliers', 'encoder_blocks', 'decoder_blocks', 'embedding', 'codebook_size',
                        'input_range', 'design', 'attention_levels', 'groups')),
}
# Fields that may differ between two networks with the same arrays: initial values, and a size that is resampled.
FREE = 'image_size', 'layer_scale', 'trunk_scale', 'mlp_ratio'
MAX_DEPTH = 1000  # a file may ask for anything
STATISTICS = 'mean', 'var'  # the leaves that are not parameters
# The preprocessing of most published encoders.
IMAGENET = Preprocessing(size=224, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A trained encoder or tokenizer.

  Attributes:
    kind, config: the module, one of `KINDS`, and its fields.
    arrays: float32, by our flat names; running statistics of batch norm included.
    preprocessing: how its images must be prepared; None if its source does not specify it.
    source: its origin: its licence, and anything else that is known.
  """

  kind: str
  config: dict
  arrays: Arrays
  preprocessing: Preprocessing | None
  source: dict

  @property
  def sides(self) -> tuple[int, int]:
    """The sides of two square images, in pixels: the network's own size and a larger one."""
    own = self.config.get('image_size') or (self.preprocessing or IMAGENET).size
    return own, own + self.config.get('patch_size', 32)

  def encode(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Float32 images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}, in full float32 on any device.

    For a tokenizer {'z': [B, h, w, E], 'decoded': [B, H, W, 3]}: it decodes z without quantising it, because the
    smallest difference could select another code. Compiled once per network and shape of images.
    """
    with jax.default_matmul_precision('highest'):
      out = _compiled(module(self.kind, self.config))(variables(self.arrays), jnp.asarray(images))
    return {name: np.asarray(value) for name, value in out.items()}


class ImportOptions(NamedTuple):
  """The user's options for an import.

  Attributes:
    heads: the number of attention heads, for files that do not contain it.
    adapt_channels: whether weights for other than 3 channels are adapted.
  """

  heads: int | None = None
  adapt_channels: bool = False


class ForeignNetwork(NamedTuple):
  """A network in a file of another library.

  Attributes:
    state: its arrays, by that library's names.
    kind, config, preprocessing, source: as in `Pretrained`.
  """

  state: Arrays
  kind: str
  config: dict
  preprocessing: Preprocessing | None
  source: dict


class RunState(NamedTuple):
  """The complete state of a run, flat, by our names; `params` and `ema_params` include the encoder's."""

  method: str
  epoch: int
  params: Arrays
  ema_params: Arrays
  model_state: Arrays


def encoder_only(flag: str, run: RunState | None) -> None:
  """Raises ConfigError if a run's state is given, for a format that can only hold the encoder."""
  if run is not None:
    raise ConfigError(f'--what=full: --format={flag} has a place for the encoder alone; choose --what=encoder, or '
                      '--format=safetensors')


def variables(arrays: Mapping[str, np.ndarray]) -> dict:
  """Flat arrays as Flax's collections."""
  trees = {'params': {}, 'batch_stats': {}}
  for name, value in arrays.items():
    trees['batch_stats' if name.rpartition('.')[2] in STATISTICS else 'params'][name] = value
  return {collection: unflatten_dict(flat, sep='.') for collection, flat in trees.items() if flat}


def flat(*trees: Mapping) -> Arrays:
  """Trees as one flat dict of NumPy arrays."""
  return {name: np.asarray(value) for tree in trees for name, value in _leaves(tree).items()}


def digest(params: Params) -> str:
  """The first 16 digits of the SHA-256 of all values."""
  sha256 = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    sha256.update(np.ascontiguousarray(leaf).data)
  return sha256.hexdigest()[:16]


def module(kind: str, config: Mapping, dtype: jnp.dtype = jnp.float32) -> Network:
  """The network, for computation in `dtype`.

  Raises:
    ConfigError: there is no such kind, or a field is unknown, missing or out of range.
  """
  if kind not in KINDS:
    raise ConfigError(f'kind={kind!r}: must be one of {", ".join(KINDS)}')
  network = schema.build(KINDS[kind].module, config, part(kind), dtype=dtype)
  for field in ('depth', 'class_depth', 'encoder_blocks', 'decoder_blocks'):
    if getattr(network, field, 1) > MAX_DEPTH:
      raise ConfigError(f'{part(kind)}.{field}={config[field]}: must be at most {MAX_DEPTH}')
  return network


def forward(network: Network) -> Callable:
  """The function (variables, images) -> named outputs, see `Pretrained.encode`."""
  if not isinstance(network, VQGAN):
    return network.apply

  def autoencode(variables, images):
    z = network.apply(variables, images, method='encode')
    return {'z': z, 'decoded': network.apply(variables, z, method='decode')}

  return autoencode


def part(kind: str) -> str:
  """The name of a network of this kind among a run's parameters, and of its file."""
  return 'tokenizer' if kind == 'vqgan' else 'encoder'


def described(network: Network) -> tuple[str, dict]:
  """The kind of a module, and the fields that define its architecture."""
  return encoder.describe(network, KINDS)


def plain(preprocessing: Preprocessing | None) -> dict | None:
  """Preprocessing as plain data, for JSON."""
  return None if preprocessing is None else dataclasses.asdict(preprocessing)


def initial(kind: str, config: Mapping) -> Arrays:
  """The arrays of a newly initialised network."""
  return flat(*_init(kind, config)().values())


def shapes(kind: str, config: Mapping) -> dict[str, tuple[int, ...]]:
  """The shapes of a network's arrays, by our flat names; nothing is computed.

  For sizes from a file see `bounds.checked_shapes`: tracing many blocks or positions takes time and memory.

  Raises:
    ConfigError: there is no such network.
  """
  try:
    tree = jax.eval_shape(_init(kind, config))
  except (ValueError, TypeError, ArithmeticError) as error:  # such as an image that is not a whole number of patches
    raise ConfigError(f'{part(kind)}: {" ".join(str(error).split())[:200]}') from error
  return {name: leaf.shape for collection in tree.values() for name, leaf in _leaves(collection).items()}


def _leaves(tree: Mapping) -> dict[str, Any]:
  """The leaves of a tree by dotted names, whose type Flax does not declare."""
  return flatten_dict(tree, sep='.')


@functools.lru_cache(maxsize=16)
def _compiled(network: Network) -> Callable:
  return jax.jit(forward(network))


def _init(kind, config):
  side = config.get('image_size') or 4 * config.get('patch_size', 16)
  return lambda: module(kind, config).init(jax.random.key(0), jnp.zeros((1, side, side, 3)))
