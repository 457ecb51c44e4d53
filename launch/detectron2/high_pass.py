"""The Gaussian high-pass filter of MSCN's images, for a detector whose backbone was trained on them. Needs PyTorch."""

import math

import torch
from torch.nn import functional


def high_pass(image: torch.Tensor, sigma: float) -> torch.Tensor:
  """Subtracts the blur of an image, as `maskrep.augment.highpass`: float32 [C, H, W] -> [C, H, W], of mean near 0.

  The kernel ends at four standard deviations (`sigma`, in pixels, above 0); borders are reflected.
  """
  half = math.ceil(4 * sigma)
  kernel = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float32) / sigma) ** 2)
  kernel = (kernel / kernel.sum()).to(image.device)
  blurred = functional.pad(image[:, None], (half, half, half, half), mode='reflect')
  blurred = functional.conv2d(blurred, kernel[None, None, :, None])
  return image - functional.conv2d(blurred, kernel[None, None, None])[:, 0]


class HighPassMapper:
  """A detectron2 mapper whose images are filtered after all other operations of `mapper`."""

  def __init__(self, mapper, sigma: float):
    self.mapper, self.sigma = mapper, sigma

  def __call__(self, example: dict) -> dict:
    example = self.mapper(example)
    return example | {'image': high_pass(example['image'].float(), self.sigma)}
