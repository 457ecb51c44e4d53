"""What a supervised image and its label suffer, as in AugReg (Steiner et al. 2021, arXiv:2106.10270)."""

import dataclasses

import jax

from maskrep import rng
from maskrep.augment.erase import erase
from maskrep.augment.mix import mix, smooth_labels
from maskrep.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularise:
  """Label smoothing, mixup and CutMix, random erasing, in this order.

  Attributes:
    num_classes: of the labels.
    label_smoothing: the share of the label that is spread evenly over the classes.
    mixup_alpha, cutmix_alpha: of the Beta distributions that shares are drawn from; 0 turns either off.
    erase: how often a box of the image is replaced by noise.
  """

  num_classes: int
  label_smoothing: float
  mixup_alpha: float
  cutmix_alpha: float
  erase: float

  def __post_init__(self):
    if self.num_classes < 2:
      raise ValueError(f'num_classes={self.num_classes}: must be at least 2')
    for field in ('label_smoothing', 'erase'):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f'{field}={getattr(self, field)}: must be in [0, 1]')
    for field in ('mixup_alpha', 'cutmix_alpha'):
      if not 0 <= getattr(self, field) < float('inf'):
        raise ValueError(f'{field}={getattr(self, field)}: must be finite and not negative')

  def __call__(self, keys: Array, images: Array, labels: Array) -> tuple[Array, Array]:
    """Keys [B], normalised images [B, H, W, 3], int32 labels [B] -> images, float32 targets [B, num_classes]."""
    targets = smooth_labels(labels, self.num_classes, self.label_smoothing)
    images, targets = mix(
      rng.fold(keys, 0), images, targets, mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)
    if self.erase:
      images = jax.vmap(lambda key, image: erase(key, image, probability=self.erase))(
        rng.fold(keys, 1), images)
    return images, targets
