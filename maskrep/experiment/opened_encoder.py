"""The trained encoder of a run or an import, opened for pictures of what it sees."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from maskrep.data.batch import Batch
from maskrep.data.datasets import UNDESCRIBED, Data
from maskrep.errors import ConfigError
from maskrep.evaluation.encoders import check_encoder, own_pooling
from maskrep.experiment import stored
from maskrep.experiment.drawing import one_batch
from maskrep.models.encoder import Preprocessing
from maskrep.schema import build
from maskrep.show.sheet import LEAST
from maskrep.types import Array, Network
from maskrep.weights.pretrained import module, variables
from maskrep.workdir.config import holds_run

TEXT = LEAST // 7  # pixels: letters that can be read on a phone whose screen is as wide as six columns


class OpenedEncoder(NamedTuple):
  """A trained encoder, in float32.

  Attributes:
    what: the flag that named its folder, and its value, for errors.
    pooling: as in its training.
    data: of its run; of an import, without a source.
    seed: of its run; 0 of an import.
  """

  what: str
  network: Network
  variables: dict
  preprocessing: Preprocessing
  pooling: str
  data: Data
  seed: int

  def batch(self, paths: list[str] | None) -> Batch:
    """The fields image and size of image files, or of some training images of the run.

    Raises:
      ConfigError: they cannot be read, or there are none.
    """
    if not (paths or self.data.source):
      raise ConfigError(f'--images: are needed, as {self.what} holds an import, which has no data of its own')
    return one_batch(self.data, paths, ('image', 'size'), self.seed)

  def pixels(self, batch: Batch) -> np.ndarray:
    """The images that the encoder sees, neither normalised nor filtered: float32 [B, size, size, 3] in [0, 1]."""
    plain = dataclasses.replace(self.preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3, high_pass_sigma=0.0)
    return np.asarray(plain(*self.on_device(batch)))

  def images(self, batch: Batch) -> Array:
    """The same, normalised and filtered."""
    return self.preprocessing(*self.on_device(batch))

  @staticmethod
  def on_device(batch: Batch) -> tuple[Array, Array]:
    return jnp.asarray(batch['image']), jnp.asarray(batch['size'])

  def grid(self, needed: str) -> int:
    """The number of patches along a side.

    Raises:
      ConfigError: it has no patches of its own, with what is `needed` for the message.
    """
    if not hasattr(self.network, 'heads'):
      raise ConfigError(f'{self.what}: a {type(self.network).__name__} {needed}; give the folder of a ViT or CaiT')
    return self.preprocessing.size // self.network.patch_size


def open_encoder(workdir: Path, size: int = 0) -> OpenedEncoder:
  """The encoder in a folder; for images of `size` pixels, or of its own size if that is 0.

  Raises:
    ConfigError: there is no such encoder, or its patches do not fit the size.
    CheckpointError: the run has no complete checkpoint, or is under way.
  """
  what = f'--workdir={workdir}'
  pretrained, _ = stored.pretrained(what, workdir)
  preprocessing = check_encoder(what, pretrained)
  patch_size = pretrained.config.get('patch_size', 1)
  if size < 0 or size % patch_size:
    raise ConfigError(f'--size={size}: must be a multiple of the patches of {patch_size} pixels')
  config = pretrained.source['config'] if holds_run(workdir) else {}
  data = config['data'] if config else UNDESCRIBED
  return OpenedEncoder(
    what, module(pretrained.kind, pretrained.config), variables(pretrained.arrays),
    dataclasses.replace(preprocessing, size=size or preprocessing.size), own_pooling(pretrained),
    build(Data, data, 'config.data'), config.get('seed', 0))
