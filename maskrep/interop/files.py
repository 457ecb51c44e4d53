"""Files of weights as flat arrays by dotted names. What is read may come from anybody: nothing in it is executed."""

from collections.abc import Callable, Iterator, Mapping
import io
import os
from pathlib import Path
import tempfile
from typing import Any

from flax import serialization
import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save as save_safetensors

from maskrep.errors import ConfigError

Arrays = dict[str, np.ndarray]

TORCH = '.pth', '.pt', '.ckpt', '.tar'
SAFETENSORS_TYPES = {
  'F64': np.float64, 'F32': np.float32, 'F16': np.float16, 'BF16': ml_dtypes.bfloat16, 'I64': np.int64, 'I32': np.int32,
  'I16': np.int16, 'I8': np.int8, 'U64': np.uint64, 'U32': np.uint32, 'U16': np.uint16, 'U8': np.uint8, 'BOOL': np.bool_,
}


def read(path: Path) -> Arrays:
  """The arrays of a .safetensors, .npz, .pth, .pt, .ckpt, .tar (also .pth.tar) or .msgpack (Flax) file.

  Names of nested dicts and lists are joined by dots. What is no array (epochs, hyper-parameters, text) is left out.
  float16 and bfloat16 become float32. PyTorch's files are read with `weights_only=True`, which knows dicts, lists,
  numbers, text and tensors, and refuses all else by name: an `argparse.Namespace` in an old checkpoint too.

  Raises:
    ConfigError: there is no such file; it is of another kind, damaged, or holds no arrays, or what could be code.
  """
  readers = {'.safetensors': _read_safetensors, '.npz': _read_npz, '.msgpack': _read_msgpack}
  readers |= dict.fromkeys(TORCH, _read_torch)
  if path.suffix not in readers:
    raise ConfigError(f'{path}: is not a kind of file that is read; give one of {", ".join(readers)}')
  if not path.is_file():
    raise ConfigError(f'{path}: {"is not a file" if path.exists() else "does not exist"}; give a file of weights')
  arrays = {}
  for name, array in _flatten(readers[path.suffix](path)):
    if name in arrays:
      raise ConfigError(f'{path}: has two arrays named {name!r}; ask for another file')
    arrays[name] = array.astype(np.float32) if array.dtype in (np.float16, ml_dtypes.bfloat16) else array
  if not arrays:
    raise ConfigError(f'{path}: holds no arrays; give a file of weights')
  return arrays


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
  """Writes arrays by name, whole or not at all."""
  contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  _write(path, lambda file: file.write(save_safetensors(contiguous, dict(metadata))))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by name, whole or not at all."""
  _write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def write_torch(path: Path, nested: Mapping[str, Any]) -> None:
  """Writes nested dicts whose leaves are arrays, which become tensors, or numbers and text; whole or not at all.

  Raises:
    ConfigError: PyTorch is not installed.
  """
  torch = _torch(path)

  def tensors(tree):
    if isinstance(tree, Mapping):
      return {name: tensors(value) for name, value in tree.items()}
    # A copy, as a tensor must own memory that can be written to.
    return torch.from_numpy(np.array(tree)) if isinstance(tree, np.ndarray) else tree

  _write(path, lambda file: torch.save(tensors(nested), file))
