"""The first three principal components of patch tokens as colours, as in DINOv2 (arXiv:2304.07193), Figure 1."""

import numpy as np

ENDS = 2, 98  # percentiles of a component that are black and white in its colour


def colours(patches: np.ndarray) -> tuple[np.ndarray, float]:
  """Colours of patches: similar tokens have similar colours, in all images.

  The components are those of all images together; the background is not removed. Their signs, which are arbitrary, are
  such that the largest loading of each is positive.

  Args:
    patches: float [B, N, D].

  Returns:
    float [B, N, 3] in [0, 1]: the first component is red, the second green, the third blue. And the share of the
    variance that the three have.
  """
  b, n, d = patches.shape
  tokens = patches.reshape(-1, d).astype(np.float64)
  tokens = tokens - tokens.mean(axis=0)
  _, scale, loadings = np.linalg.svd(tokens, full_matrices=False)
  loadings = loadings[:3] * np.sign(np.take_along_axis(loadings[:3], np.abs(loadings[:3]).argmax(axis=1)[:, None], 1))
  components = tokens @ loadings.T
  low, high = np.percentile(components, ENDS, axis=0)
  shown = np.zeros((len(tokens), 3))  # fewer than three, if there are fewer tokens
  shown[:, :len(loadings)] = np.clip((components - low) / np.maximum(high - low, 1e-12), 0, 1)
  return shown.reshape(b, n, 3), float((scale[:3]**2).sum() / max((scale**2).sum(), 1e-12))
