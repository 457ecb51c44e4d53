"""The section `encoding` of an evaluation."""

import dataclasses
from typing import Annotated

import jax

from maskrep.models.encoder import POOLING
from maskrep.schema import Count, NonNegativeInt, OneOf, Probability, check

NETWORKS = 'ema', 'online'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
  """The computation of features from images.

  Attributes:
    network: 'ema', or 'online' for the network that the EMA follows.
    pooling, layers: see `maskrep.models.encoder.represent`; a pooling of '' is that of the run's training, or the class
      token if it is unknown.
    final_norm: False gives the class token of the last block, without the encoder's final norm, as the MSN and ExtreMA
      authors evaluate.
    size: side of the image in pixels; 0 is the size that the encoder was trained or published with.
    crop_fraction: the central part of the shorter side that the encoder sees; 0 is as in training.
    batch_size: images encoded at once, over all devices.
  """

  network: Annotated[str, OneOf(NETWORKS)]
  pooling: Annotated[str, OneOf(('', *POOLING))]
  layers: Count
  size: NonNegativeInt
  batch_size: Count
  final_norm: bool = True
  crop_fraction: Probability = 0.0

  def __post_init__(self):
    check(self)
    if not self.final_norm and (self.layers != 1 or self.pooling not in ('', 'class_token')):
      raise ValueError("final_norm=False: is of the class token of one layer; set pooling='class_token', layers=1")
    if self.batch_size % jax.device_count():
      raise ValueError(f'batch_size={self.batch_size}: must be a multiple of the {jax.device_count()} devices')
