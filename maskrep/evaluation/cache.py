"""A cache of features on disk, keyed by everything they depend on."""

from collections.abc import Callable
import hashlib
import json
import logging
from pathlib import Path
import zipfile

import jax
from jax.experimental.multihost_utils import broadcast_one_to_all
import numpy as np

from maskrep.evaluation.features import Features
from maskrep.workdir.files import make_folder, replacing

FORMAT = 1  # to be incremented if the same key would give other features

log = logging.getLogger(__name__)


def cached(folder: Path, key: dict, size: int, compute: Callable[[], Features]) -> Features:
  """Returns the features of `key` from the cache, or computes and stores them.

  If fewer than `size` examples could be read they are not stored: the others may be readable next time.

  Only process 0 reads and writes the cache, and broadcasts to the others, whose disks may differ. A damaged file (each
  array has a checksum) is computed again.

  Args:
    folder: folder of the cache; created if it does not exist.
    key: plain data: weights, preprocessing and images.
  """
  name = hashlib.sha256(json.dumps({'format': FORMAT} | key, sort_keys=True).encode()).hexdigest()[:32]
  path = folder / f'{name}.npz'
  features = _read(path) if jax.process_index() == 0 else None
  if jax.process_count() > 1:
    features = _broadcast(features)
  if features is None:
    features = compute()
    if jax.process_index() == 0 and len(features.labels) == size:
      make_folder(folder)
      with replacing(path) as file:
        np.savez(file, key=np.array(json.dumps(key, sort_keys=True)), **features._asdict())
  return features


def _read(path: Path) -> Features | None:
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return Features(*(arrays[name] for name in Features._fields))
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    log.warning('%s: is damaged (%s); its features are computed again', path, error)
    return None


def _broadcast(features: Features | None) -> Features | None:
  """Returns the features of process 0 in every process."""
  shape = broadcast_one_to_all(np.array(features.features.shape if features else (-1, 0)))
  if shape[0] < 0:
    return None
  local = features or Features(np.zeros(shape, np.float32), np.zeros(shape[0], np.int32))
  return Features(*map(np.asarray, broadcast_one_to_all(local)))
