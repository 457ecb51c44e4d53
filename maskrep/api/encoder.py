"""A trained encoder as a function from images to features."""

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from maskrep.data.batch import BrokenImages
from maskrep.data.datasets import CANVAS
from maskrep.data.loader import in_order
from maskrep.data.sources.given import Given, GivenImages
from maskrep.devices.mesh import batch_sharding, make_mesh
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation.encoders import check_encoder, own_pooling
from maskrep.evaluation.encoding import NETWORKS
from maskrep.experiment import stored
from maskrep.models.encoder import KINDS, Preprocessing, pooled
from maskrep.process.paths import check_path
from maskrep.schema import DTYPES, dtype_of
from maskrep.weights import native
from maskrep.weights.pretrained import Pretrained, digest, flat, module, variables

FILES = '.safetensors', '.npz'
MOST_AT_ONCE = 64  # images of a batch, unless the caller says more
STALL_TIMEOUT_S = 600


def load(path: str | os.PathLike, *, network: str = 'ema', dtype: str = 'auto') -> 'Encoder':
  """Loads a trained encoder. Only the encoder is read: no optimiser state, and no data set.

  >>> import maskrep
  >>> encoder = maskrep.load('runs/msn_digits')
  >>> encoder.kind, encoder.width, encoder.preprocessing.size
  ('vit', 16, 16)

  Args:
    path: the workdir of a run, a folder that `maskrep import` wrote, or a .safetensors or .npz file that
      `maskrep export --format=safetensors` or `--format=npz` wrote, with its .json file beside it.
    network: 'ema', or 'online' for the network that the EMA follows, which only a run has.
    dtype: the dtype of the computation: 'float32', 'bfloat16', or 'auto', which is bfloat16 on an accelerator and
      float32 on a CPU. Weights and results are float32.

  Raises:
    ConfigError: there is no encoder at `path`, or its preprocessing is unknown.
    CheckpointError: the run has no complete checkpoint, or is still under way.
    ValueError: `network` or `dtype` is not one of the values above.
  """
  for name, value, values in (('network', network, NETWORKS), ('dtype', dtype, ('auto', *DTYPES))):
    if value not in values:
      raise ValueError(f'{name}={value!r}: must be one of {", ".join(values)}')
  given = os.fspath(path)
  what = repr(given)
  check_path(what, given)
  pretrained = _read(what, Path(given).expanduser(), network)
  return Encoder(pretrained, check_encoder(what, pretrained), dtype=dtype_of(dtype))


def _read(what: str, path: Path, network: str) -> Pretrained:
  if path.is_dir():
    return stored.pretrained(what, path, network)[0]
  if not path.exists():
    raise ConfigError(f'{what}: does not exist; give the workdir of a run, or what maskrep import or export wrote')
  if path.suffix not in FILES or not path.with_suffix('.json').exists():
    missing = f'has no {path.stem}.json beside it' if path.suffix in FILES else f'is not one of {", ".join(FILES)}'
    raise ConfigError(f'{what}: {missing}, as maskrep export writes it; turn a file of another library into a folder '
                      'with maskrep import')
  if network != 'ema':
    raise ConfigError(f'{what}: is a file of one network; leave the network at ema')
  return native.load_file(what, path)


class Encoder:
  """A trained encoder: a function from images to features. Made by `maskrep.load`.

  >>> encoder = maskrep.load('runs/msn_digits')
  >>> encoder
  <maskrep.Encoder: vit, images of 16 x 16 pixels to 16 numbers, EMA weights of step 7 of 'runs/msn_digits'>

  The weights are replicated on the local devices of this process, and each batch is sharded over them.

  Attributes:
    kind: 'vit', 'cait' or 'resnet'.
    preprocessing: how its images are prepared, a frozen dataclass: `size` in pixels, `crop_fraction`, `mean`, `std`.
    source: the encoder's origin, a dict of plain data: its licence and, for a run, the `workdir`, `step` and `config`.
    canvas: images with a longer side are reduced to this many pixels before they are cropped: the canvas of the run
      that trained the encoder, or 512 if that is unknown.
  """

  kind: str
  preprocessing: Preprocessing
  source: dict[str, Any]
  canvas: int

  def __init__(self, pretrained: Pretrained, preprocessing: Preprocessing, *, dtype: jnp.dtype):
    self.kind, self.preprocessing, self.source = pretrained.kind, preprocessing, pretrained.source
    self.canvas = _canvas(pretrained.source)
    self._network = module(pretrained.kind, pretrained.config, dtype)
    self._patch_size = pretrained.config.get('patch_size', 1)
    self._pooling = own_pooling(pretrained)
    self._mesh = make_mesh(devices=jax.local_devices())
    self._variables = jax.device_put(variables(pretrained.arrays), NamedSharding(self._mesh, PartitionSpec()))
    self._compiled: dict[tuple[int, bool], Callable] = {}

  def __call__(
    self, images: Given | Iterable[Given], *, batch_size: int | None = None, size: int | None = None,
    keep_idx: np.ndarray | None = None,
  ) -> dict[str, np.ndarray]:
    """Encodes images; they are decoded, cropped and normalised as in the run's evaluation.

    >>> from PIL import Image
    >>> import numpy as np
    >>> pixels = np.zeros((8, 8), np.uint8)
    >>> out = encoder(['photos/cat.jpg', Image.open('photos/dog.png'), pixels])
    >>> out['cls'].shape, out['patches'].shape, out['representation'].shape
    ((3, 16), (3, 16, 16), (3, 16))
    >>> out['names'].tolist()
    ['photos/cat.jpg', 'image 1', 'image 2']
    >>> encoder('photos')['names'].tolist()
    ['photos/cat.jpg', 'photos/dog.png']

    With `keep_idx` the encoder sees only some patches of each image, here the first four:

    >>> masked = encoder('photos', keep_idx=[[0, 1, 2, 3], [0, 1, 2, 3]])
    >>> masked['patches'].shape
    (2, 4, 16)

    All results are held in memory. For large sets use `maskrep embed`, which writes the features to a file.

    Args:
      images: one image or any number: paths of image files, Pillow images, uint8 arrays [H, W, 3] or [H, W], or the
        bytes of image files. Or the path of a folder, which is searched to any depth. A 16-bit grey image has the range
        of its own values; in a folder, at least the range of the images inspected first, as in training.
      batch_size: images encoded at once. The program is compiled once per batch size: if one is given, for this size
        alone, and the last batch is padded; by default, for powers of two up to 64, none larger than the number of
        images needs.
      size: side of the images in pixels, if not that of `preprocessing`.
      keep_idx: int [N, K], the patches of each image that the encoder sees, numbered row by row without the class
        token; None is all.

    Returns:
      Arrays of N images in the order of `images`. Those of a folder are sorted by name.

      - `cls`, float32 [N, D]: the class token; of a ResNet, the average of its last feature map.
      - `patches`, float32 [N, P, D]: the P patches, or the K that are kept; of a ResNet, the positions of that map.
      - `representation`, float32 [N, D] or [N, 2 D]: the class token, the average of the patches, or both, as in
        training; `maskrep evaluate` measures it.
      - `names`, str [N]: the paths, and 'image 0', ... for images without one.

    Raises:
      DataError: an image cannot be read; the message names it.
      ConfigError: a folder has no images.
      ValueError, TypeError: an argument does not fit the encoder, or is not an image.
    """
    source = GivenImages(images)
    size = self._checked_size(size)
    keep = None if keep_idx is None else self._checked_keep(keep_idx, len(source), size)
    rows, encode, results = self._rows(batch_size, len(source)), self._encode(size, keep is not None), {}
    broken = BrokenImages()
    with contextlib.closing(in_order(
      source, batch_size=rows, canvas=self.canvas, threads=min(16, os.cpu_count() or 1),
      stall_timeout_s=STALL_TIMEOUT_S, reads=('image', 'size'), broken=broken)) as batches:
      for start, batch in zip(range(0, len(source), rows), batches, strict=True):
        count = min(rows, len(source) - start)
        if not batch.pop('valid')[:count].all():
          name, reason = next(iter(broken.reasons.items()))
          raise DataError(f'{name}: cannot be read ({reason}); leave it out, or give an image file, a Pillow image, or '
                          'uint8 pixels [H, W, 3] or [H, W]')
        if keep is not None:
          batch['keep_idx'] = np.resize(keep[start:start + count], (rows, keep.shape[1]))
        out = encode(self._variables, jax.device_put(batch, batch_sharding(self._mesh)))
        for name, value in jax.tree.map(np.asarray, out).items():
          results.setdefault(name, np.empty((len(source), *value.shape[1:]), np.float32))
          results[name][start:start + count] = value[:count]
    return results | {'names': np.array([source.name(i) for i in range(len(source))])}

  @functools.cached_property
  def width(self) -> int:
    """D, the width of the class token and of each patch."""
    images = jax.ShapeDtypeStruct((1, *[self.preprocessing.size] * 2, 3), jnp.float32)
    return jax.eval_shape(self._network.apply, self._variables, images)['cls'].shape[-1]

  @functools.cached_property
  def digest(self) -> str:
    """16 hexadecimal digits that identify the weights, as in evaluations.jsonl."""
    return digest(flat(*self._variables.values()))

  def __repr__(self) -> str:
    size, source = self.preprocessing.size, self.source
    origin = (f', {source["weights"]} weights of step {source["step"]} of {source["workdir"]!r}'
              if {'weights', 'step', 'workdir'} <= source.keys() else '')
    return f'<maskrep.Encoder: {self.kind}, images of {size} x {size} pixels to {self.width} numbers{origin}>'

  def _encode(self, size: int, masked: bool) -> Callable:
    """The program for one image size; compiled once per batch shape."""
    if (size, masked) not in self._compiled:
      preprocessing = dataclasses.replace(self.preprocessing, size=size)

      def encode(variables, batch):
        images = preprocessing(batch['image'], batch['size'])
        out = self._network.apply(variables, images, *([batch['keep_idx']] if masked else []))
        return {'cls': out['cls'], 'patches': out['patches'], 'representation': pooled(out, self._pooling)}

      shards = batch_sharding(self._mesh)
      self._compiled[size, masked] = jax.jit(encode, in_shardings=(None, shards), out_shardings=shards)
    return self._compiled[size, masked]

  def _checked_size(self, size: int | None) -> int:
    size = self.preprocessing.size if size is None else size
    if size < 1 or size % self._patch_size:
      raise ValueError(f'size={size}: must be a multiple of the patches of {self._patch_size} pixels')
    return size

  def _checked_keep(self, keep_idx: Any, images: int, size: int) -> np.ndarray:
    if not KINDS[self.kind].module.drops_patches:
      raise ValueError(f'keep_idx: a {self.kind} sees all pixels, and no patch can be left out')
    keep, patches = np.asarray(keep_idx), (size // self._patch_size) ** 2
    if keep.dtype.kind not in 'iu' or keep.ndim != 2 or len(keep) != images or not 0 < keep.shape[1] <= patches:
      raise ValueError(f'keep_idx: is {keep.dtype} {list(keep.shape)}; give integers [{images}, K], with K from 1 to '
                       f'{patches}')
    if keep.min() < 0 or keep.max() >= patches:
      raise ValueError(f'keep_idx: has {keep.min()} ... {keep.max()}; patches are numbered 0 ... {patches - 1}')
    return keep.astype(np.int32)

  def _rows(self, batch_size: int | None, images: int) -> int:
    devices = self._mesh.size
    if batch_size is None:
      return -(-min(MOST_AT_ONCE, 2 ** math.ceil(math.log2(images))) // devices) * devices
    if batch_size < 1 or batch_size % devices:
      raise ValueError(f'batch_size={batch_size}: must be a multiple of the {devices} local devices')
    return batch_size


def _canvas(source: dict[str, Any]) -> int:
  """The canvas of the run that trained the encoder; an export has it in its JSON file."""
  match source:
    case {'config': {'data': {'canvas': int(canvas)}}} if canvas > 0:
      return canvas
  return CANVAS
