"""Regularisation of supervised examples: label smoothing, mixup/CutMix and random erasing.

AugReg, Steiner et al. 2021, arXiv:2106.10270.
"""

import dataclasses
from typing import Annotated

import jax

from maskrep import rng
from maskrep.augment.erase import erase
from maskrep.augment.mix import mix, smooth_labels
from maskrep.schema import NonNegative, Probability, Range, check
from maskrep.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularisation:
  """Label smoothing, mixup and CutMix, random erasing, in this order.

  Attributes:
    num_classes: number of classes of the labels.
    label_smoothing: the share of the label that is distributed evenly over the classes.
    mixup_alpha, cutmix_alpha: parameters of the Beta distributions of the shares; 0 turns either off.
    erase: the probability that a box of the image is replaced with noise.
  """

  num_classes: Annotated[int, Range(2)]
  label_smoothing: Probability
  mixup_alpha: NonNegative
  cutmix_alpha: NonNegative
  erase: Probability

  __post_init__ = check

  def __call__(self, keys: Array, images: Array, labels: Array) -> tuple[Array, Array]:
    """Keys [B], normalised images [B, H, W, 3], int32 labels [B] -> images, float32 targets [B, num_classes]."""
    targets = smooth_labels(labels, self.num_classes, self.label_smoothing)
    images, targets = mix(
      rng.fold(keys, 0), images, targets, mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)
    if self.erase:
      images = jax.vmap(lambda key, image: erase(key, image, probability=self.erase))(
        rng.fold(keys, 1), images)
    return images, targets
