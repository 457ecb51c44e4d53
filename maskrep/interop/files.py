"""Arrays in files: safetensors, NumPy's npz, PyTorch's. No pickle is executed."""

from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from maskrep.errors import ConfigError


def read(path: Path) -> dict[str, np.ndarray]:
  """Flat names with dots -> arrays."""
  try:
    if path.suffix == '.safetensors':
      return safetensors.load_file(path)
    if path.suffix == '.npz':
      with np.load(path, allow_pickle=False) as file:
        return dict(file)
    import torch
    return _flat(torch.load(path, weights_only=True, map_location='cpu'))
  except Exception as error:
    raise ConfigError(f'{path}: cannot be read ({" ".join(str(error).split())[:200]})') from error


def write_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
  safetensors.save_file(arrays, path, metadata={'format': 'pt'})


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
  np.savez(path, **arrays)


def write_torch(path: Path, arrays: dict) -> None:
  import torch
  torch.save(_tensors(arrays), path)


def _tensors(tree):
  import torch
  if isinstance(tree, dict):
    return {name: _tensors(value) for name, value in tree.items()}
  return torch.from_numpy(tree) if isinstance(tree, np.ndarray) else tree


def _flat(tree, prefix=''):
  found = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      found |= _flat(value, f'{prefix}{name}.')
    elif hasattr(value, 'numpy'):
      found[f'{prefix}{name}'] = value.numpy()
  return found
