"""Files of weights as flat arrays by dotted names. Files are untrusted: nothing in them is executed.

`read` opens only the path that it is given: names inside a file are used only as names of arrays.
"""

from collections.abc import Iterator, Mapping
import io
from pathlib import Path
import re
from typing import Any

from flax import serialization
from flax.traverse_util import unflatten_dict
import ml_dtypes
import msgpack
import numpy as np
import safetensors
from safetensors.numpy import save as save_safetensors

from maskrep.errors import ConfigError
from maskrep.weights import claims
from maskrep.weights.claims import Refused
from maskrep.workdir.files import write_atomic

Arrays = dict[str, np.ndarray]

MAX_NODES = 1_000_000  # dicts, lists and leaves of one file; an ImageNet run with its optimiser has thousands
TORCH_FLOOR = 2, 10  # in earlier versions weights_only can corrupt memory or run code: CVE-2025-32434, CVE-2026-24747
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SAFETENSORS_TYPES = {
  'F64': np.float64, 'F32': np.float32, 'F16': np.float16, 'BF16': BFLOAT16, 'I64': np.int64, 'I32': np.int32,
  'I16': np.int16, 'I8': np.int8, 'U64': np.uint64, 'U32': np.uint32, 'U16': np.uint16, 'U8': np.uint8,
  'BOOL': np.bool_,
}


def read(path: Path, suffix: str | None = None) -> Arrays:
  """The arrays of a file: .safetensors, .npz, Flax's .msgpack, or PyTorch's .pth, .pt, .ckpt, .tar (.pth.tar), .bin.

  Names of nested dicts and lists are joined by dots. Values other than numeric arrays (an epoch, hyper-parameters,
  text) are left out. float16 and bfloat16 become float32. PyTorch's files are read with `weights_only=True`, which
  accepts dicts, lists, numbers, text and tensors, and refuses anything else, naming it: for example an
  `argparse.Namespace` in an old checkpoint.

  Args:
    suffix: the kind of file, if the path has another suffix or none.

  Raises:
    ConfigError: there is no such file; or it is of another kind, is damaged, has no arrays, or could run code.
  """
  suffix = suffix or path.suffix
  if suffix not in READERS:
    raise ConfigError(f'{path}: is not a supported kind of file; give one of {", ".join(READERS)}')
  if not path.is_file():
    raise ConfigError(f'{path}: {"is not a file" if path.exists() else "does not exist"}; give a file of weights')
  try:
    stored, total, arrays = claims.check(path, suffix), 0, {}
    for name, array in _arrays(READERS[suffix](path)):
      if name in arrays:
        raise Refused(f'has two arrays named {name!r}; ask its author for another')
      arrays[name] = array
      total += array.nbytes  # tensors may share their memory, and a copy of each would not
      claims.check_total(total, stored)
      claims.check_count(len(arrays))
  except (Refused, ConfigError) as error:
    raise ConfigError(f'{path}: {error}') from error
  except Exception as error:  # parsers raise errors of any type for a malformed file
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise ConfigError(f'{path}: cannot be read as {suffix} ({reason[:200]}); it is damaged or of another kind: '
                      'get it again') from error
  if not arrays:
    raise ConfigError(f'{path}: has no arrays; give a file of weights')
  return arrays


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
  """Writes arrays by name, completely or not at all."""
  # safetensors writes the memory of an array and ignores its strides.
  contiguous = {name: np.asarray(array, order='C') for name, array in arrays.items()}
  write_atomic(path, save_safetensors(contiguous, dict(metadata)))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by name, completely or not at all."""
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  write_atomic(path, content.getbuffer())


def write_msgpack(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by dotted names, nested as in Flax, completely or not at all."""
  write_atomic(path, serialization.msgpack_serialize(unflatten_dict(dict(arrays), sep='.')))


def write_torch(path: Path, nested: Mapping[str, Any]) -> None:
  """Writes nested dicts and lists for `torch.load`, completely or not at all. Arrays become tensors; other leaves stay.

  Raises:
    ConfigError: PyTorch is not installed.
  """
  torch = _torch()

  def tensors(tree):
    if isinstance(tree, Mapping):
      return {name: tensors(value) for name, value in tree.items()}
    if isinstance(tree, list):
      return [tensors(value) for value in tree]
    # A copy: torch needs writable memory, and for a view it saves the memory of the complete array.
    return torch.from_numpy(np.array(tree)) if isinstance(tree, np.ndarray) else tree

  content = io.BytesIO()
  torch.save(tensors(nested), content)
  write_atomic(path, content.getbuffer())


def _read_safetensors(path):
  arrays = {}
  for name, tensor in safetensors.deserialize(path.read_bytes()):
    if tensor['dtype'] not in SAFETENSORS_TYPES:
      raise Refused(f'{name!r} is {tensor["dtype"]}; convert it to float32 first')
    arrays[name] = np.frombuffer(tensor['data'], SAFETENSORS_TYPES[tensor['dtype']]).reshape(tensor['shape'])
  return arrays


def _read_npz(path):
  loaded = np.load(path, allow_pickle=False)
  if not isinstance(loaded, np.lib.npyio.NpzFile):
    raise Refused('is one array, not an archive of named arrays; write it with numpy.savez')
  with loaded:
    assert loaded.zip is not None  # it is, until closed
    claims.check_npy(loaded.zip)
    return dict(loaded)


def _read_msgpack(path):
  content, count = path.read_bytes(), 0

  def counted(code, data):
    nonlocal count
    count += 1
    claims.check_count(count)

  msgpack.unpackb(content, ext_hook=counted, strict_map_key=False)
  return serialization.msgpack_restore(content)


def _read_torch(path):
  torch = _torch()
  if tuple(map(int, torch.__version__.split('.')[:2])) < TORCH_FLOOR:
    raise Refused(f'is not read with PyTorch {torch.__version__}, whose weights_only can run code (CVE-2026-24747); '
                  "pip install 'torch>=2.10'")
  try:
    tree = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:
    if match := re.search(r'GLOBAL (\S+)', str(error)):
      raise Refused(f'refers to {match[1][:100]}, and creating such an object could run code, so it is not read; '
                     "if you trust it, save its state_dict alone with torch.save, or as .safetensors") from error
    raise
  return tree


def _torch():
  try:
    import torch
  except ImportError as error:
    raise ConfigError(f"{', '.join(TORCH)} files need PyTorch ({error}); pip install 'torch>=2.10'") from error
  return torch


def _arrays(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
  """Dotted names and numeric arrays, in order. A tree may contain itself, or the same dict many times."""
  if not isinstance(tree, Mapping):
    raise Refused(f'holds a {type(tree).__name__}, not arrays by name; give a file of weights')
  pending, nodes = [((), tree)], 0
  while pending:
    path, value = pending.pop()
    nodes += 1
    if nodes > MAX_NODES or len(path) > 100:
      raise Refused('is nested without end; ask its author for another')
    if isinstance(value, Mapping):
      pending += [((*path, str(key)), child) for key, child in reversed(list(value.items()))]
    elif isinstance(value, list | tuple):
      pending += [((*path, str(i)), value[i]) for i in reversed(range(len(value)))]
    else:
      name = '.'.join(path)
      array = _from_tensor(name, value) if hasattr(value, 'untyped_storage') else value
      if isinstance(array, np.ndarray) and (array.dtype.kind in 'fiub' or array.dtype == BFLOAT16):
        yield name, array.astype(np.float32) if array.dtype in (np.float16, BFLOAT16) else array


def _from_tensor(name: str, tensor: Any) -> np.ndarray:
  try:
    # A small file may hold a tensor of any size whose elements all share one memory location.
    if tensor.nbytes > tensor.untyped_storage().nbytes():
      raise Refused(f'{name!r} is larger than its own storage; save it after .contiguous()')
    return (tensor.float() if 'bfloat16' in str(tensor.dtype) else tensor).detach().numpy()
  except (TypeError, RuntimeError) as error:
    raise Refused(f'{name!r} is not a dense tensor of numbers ({tensor.dtype}, {tensor.layout}); convert it '
                   'to float32 first') from error


TORCH = '.pth', '.pt', '.ckpt', '.tar', '.bin'
READERS = {'.safetensors': _read_safetensors, '.npz': _read_npz, '.msgpack': _read_msgpack,
           **dict.fromkeys(TORCH, _read_torch)}
