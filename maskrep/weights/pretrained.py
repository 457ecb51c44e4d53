"""An encoder, or a tokenizer, apart from the run that trained it."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import NamedTuple

from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from maskrep.errors import ConfigError
from maskrep.experiment.build import section
from maskrep.models.cait import CaiT
from maskrep.models.resnet import ResNet
from maskrep.models.vit import ViT
from maskrep.models.vqgan import VQGAN
from maskrep.weights.names import Arrays

# What each kind is made of; other fields of the modules say how it trains.
KINDS = {
  'vit': (ViT, ('patch_size', 'width', 'depth', 'heads', 'mlp_ratio', 'image_size')),
  'cait': (CaiT, ('patch_size', 'width', 'depth', 'heads', 'mlp_ratio', 'class_depth', 'instance', 'layer_scale',
                  'positions', 'image_size', 'trunk_scale', 'talking_heads')),
  'resnet': (ResNet, ('depth', 'width', 'stem')),
  'vqgan': (VQGAN, ('channels', 'multipliers', 'encoder_blocks', 'decoder_blocks', 'embedding', 'codebook_size',
                    'input_range', 'design', 'attention_levels', 'groups')),
}
# What is not another network where its arrays have the same shapes: initial values, and a size that is resampled.
FREE = 'image_size', 'layer_scale', 'trunk_scale', 'mlp_ratio'
MAX_DEPTH = 1000  # a file may ask for anything
STATISTICS = 'mean', 'var'  # the leaves that are no parameters
# What published encoders expect that were trained and evaluated as most are.
IMAGENET = {'size': 224, 'crop_fraction': 0.875, 'filter': 'bilinear', 'mean': [0.485, 0.456, 0.406],
            'std': [0.229, 0.224, 0.225]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A trained encoder or tokenizer.

  Attributes:
    kind, config: which module, and its sizes.
    arrays: float32, by our flat names; running statistics of batch norm among them.
    preprocessing: what its images go through: size, crop_fraction, filter, mean, std; and where it is so squash (to a
      square, not cropped) and high_pass_sigma. None where the source does not say.
    source: where it is from: licence, and what else is known.
  """

  kind: str
  config: dict
  arrays: Arrays
  preprocessing: dict | None
  source: dict

  @property
  def sides(self) -> tuple[int, int]:
    """Of two square images, in pixels: its own and a larger one."""
    own = self.config.get('image_size') or (self.preprocessing or IMAGENET)['size']
    return own, own + self.config.get('patch_size', 32)

  def encode(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Float32 images [B, H, W, 3] -> {'cls': [B, D], 'patches': [B, N, D]}, in full float32 on any device.

    Of a tokenizer {'z': [B, h, w, E], 'decoded': [B, H, W, 3]}: what it decodes without quantising, which would turn
    the least difference into another code.
    """
    with jax.default_matmul_precision('highest'):
      out = jax.jit(forward(self.kind, self.config))(variables(self.arrays), jnp.asarray(images))
    return {name: np.asarray(value) for name, value in out.items()}


class Asked(NamedTuple):
  """What the user says of a file: attention heads where it does not, and that other channels may be adapted."""

  heads: int | None = None
  adapt_channels: bool = False


class Found(NamedTuple):
  """An encoder in a file of another library: its arrays by that library's names, and what is known of it."""

  state: Arrays
  kind: str
  config: dict
  preprocessing: dict | None
  source: dict


class Run(NamedTuple):
  """What a run has beside its encoder, flat, by our names; both sorts of parameters have the encoder's too."""

  method: str
  epoch: int
  params: Arrays
  ema_params: Arrays
  model_state: Arrays


def encoder_only(flag: str, run: Run | None) -> None:
  """Refuses the rest of a run where a format has no place for it."""
  if run is not None:
    raise ConfigError(f'--what=full: --format={flag} has a place for the encoder alone; choose --what=encoder, or '
                      '--format=safetensors')


def variables(arrays: Mapping[str, np.ndarray]) -> dict:
  """Flat arrays as flax's collections."""
  trees = {'params': {}, 'batch_stats': {}}
  for name, value in arrays.items():
    trees['batch_stats' if name.rpartition('.')[2] in STATISTICS else 'params'][name] = value
  return {collection: unflatten_dict(flat, sep='.') for collection, flat in trees.items() if flat}


def flat(*trees: Mapping) -> Arrays:
  """Trees as one flat dict of NumPy arrays."""
  return {name: np.asarray(value) for tree in trees for name, value in flatten_dict(tree, sep='.').items()}


def module(kind: str, config: Mapping, dtype: jnp.dtype = jnp.float32) -> nn.Module:
  """The network, for computation in `dtype`.

  Raises:
    ConfigError: a size cannot be right.
  """
  if kind not in KINDS:
    raise ConfigError(f'kind={kind!r}: must be one of {", ".join(KINDS)}')
  for field in ('depth', 'class_depth'):
    if not 0 < config.get(field, 1) <= MAX_DEPTH:
      raise ConfigError(f'{field}={config[field]}: must be in 1 ... {MAX_DEPTH}')
  return section(KINDS[kind][0], config, part(kind), dtype=dtype)


def forward(kind: str, config: Mapping) -> Callable:
  """The function (variables, images) -> named outputs, see `Pretrained.encode`."""
  model = module(kind, config)
  if kind != 'vqgan':
    return model.apply

  def through(variables, images):
    z = model.apply(variables, images, method='encode')
    return {'z': z, 'decoded': model.apply(variables, z, method='decode')}

  return through


def part(kind: str) -> str:
  """What a network of this kind is of a run, and the name of its file."""
  return 'tokenizer' if kind == 'vqgan' else 'encoder'


def check_preprocessing(said: dict | None) -> None:
  """Whether it says all that it must; see `Pretrained`.

  Raises:
    ConfigError: it does not.
  """
  if said is None:
    return
  whole = isinstance(said, dict) and {'size', 'crop_fraction', 'filter', 'mean', 'std'} <= said.keys()
  if not whole or type(said['size']) is not int or not 0 < said['size'] <= 10_000 or not said['crop_fraction'] > 0 or (
      len(said['mean']), len(said['std'])) != (3, 3):
    raise ConfigError(f'preprocessing={said}: must say size, crop_fraction, filter, and mean and std of 3 channels')


def described(encoder: nn.Module) -> tuple[str, dict]:
  """The kind and the sizes of a module."""
  kind = next(kind for kind, (cls, _) in KINDS.items() if type(encoder) is cls)
  return kind, {field: getattr(encoder, field) for field in KINDS[kind][1]}


def initial(kind: str, config: Mapping) -> Arrays:
  """Arrays of a new encoder."""
  return flat(*_init(kind, config)().values())


def shapes(kind: str, config: Mapping) -> dict[str, tuple[int, ...]]:
  """Of the arrays that such an encoder has, by our flat names."""
  tree = jax.eval_shape(_init(kind, config))
  return {name: leaf.shape for part in tree.values() for name, leaf in flatten_dict(part, sep='.').items()}


def _init(kind, config):
  side = config.get('image_size') or 4 * config.get('patch_size', 16)
  return lambda: module(kind, config).init(jax.random.key(0), jnp.zeros((1, side, side, 3)))
