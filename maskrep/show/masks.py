"""Masked views: the patches that a mask drops are grey, the others are the network's input."""

import einops
import numpy as np

from maskrep.show.views import numbered, pixels
from maskrep.types import Objective, Views

GREY = 128 / 255  # exact in 8 bits


def masked_columns(objective: Objective, views: Views) -> dict[str, np.ndarray]:
  """Caption -> images, float32 [B, H, W, 3] in [0, 1], per masked view.

  A view whose pixels are already masked is shown unchanged. Empty if the objective draws no masks.
  """
  columns = {}
  for name, keep in objective.masked.items():
    if keep is None:
      columns |= numbered(name, pixels(objective, views[name]))
    elif keep in views:
      _, encoder = objective.backbone
      masked = _masked(pixels(objective, views[name]), np.asarray(views[keep]), encoder.patch_size)
      columns |= numbered(f'masked {name}', masked)
  return columns


def grey_out(images: np.ndarray, keep_idx: np.ndarray, patch_size: int) -> np.ndarray:
  """Paints the patches that are not kept grey: [B, H, W, 3] and int [B, K] -> [B, H, W, 3]."""
  b, h, w, _ = images.shape
  dropped = np.ones((b, (h // patch_size) * (w // patch_size)), bool)
  np.put_along_axis(dropped, keep_idx, False, axis=1)
  pixels = einops.repeat(dropped, 'b (h w) -> b (h p) (w q) 1', h=h // patch_size, p=patch_size, q=patch_size)
  return np.where(pixels, np.float32(GREY), images)


def _masked(images: np.ndarray, keep_idx: np.ndarray, patch_size: int) -> np.ndarray:
  """Applies several masks to one view, or one to each: [B, (V,) H, W, 3] and [B, (M,) K] or [B * V, K]."""
  b, *_, h, w, c = images.shape
  keep = keep_idx.reshape(b, -1, keep_idx.shape[-1])
  views = np.broadcast_to(images.reshape(b, -1, h, w, c), (b, keep.shape[1], h, w, c))
  flat = grey_out(views.reshape(-1, h, w, c), keep.reshape(-1, keep.shape[-1]), patch_size)
  return flat.reshape(b, -1, h, w, c)
