"""Features on disk, under a name made of all that they depend on, so that none are computed twice."""

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
from maskrep.workdir.files import replacing

FORMAT = 1  # to be raised where the same key would give other features

log = logging.getLogger(__name__)


def cached(folder: Path, key: dict, size: int, compute: Callable[[], Features]) -> Features:
  """What `compute` gave for the same `key` before, or gives now.

  Less than `size` examples are not kept: images that could not be read now may be there the next time.

  Only process 0 reads and writes, and tells the others, whose disks may be others. A damaged file (each array has a
  checksum) is computed again.

  Args:
    folder: of the cache; made where it is not there.
    key: plain data: weights, preprocessing and images.
  """
  name = hashlib.sha256(json.dumps({'format': FORMAT} | key, sort_keys=True).encode()).hexdigest()[:32]
  path = folder / f'{name}.npz'
  found = _read(path) if jax.process_index() == 0 else None
  if jax.process_count() > 1:
    found = _shared(found)
  if found is None:
    found = compute()
    if jax.process_index() == 0 and len(found.labels) == size:
      folder.mkdir(parents=True, exist_ok=True)
      with replacing(path) as file:
        np.savez(file, key=np.array(json.dumps(key, sort_keys=True)), **found._asdict())
  return found


def _read(path: Path) -> Features | None:
  if not path.exists():
    return None
  try:
    with np.load(path, allow_pickle=False) as held:
      return Features(*(held[name] for name in Features._fields))
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    log.warning('%s: is damaged (%s); its features are computed again', path, error)
    return None


def _shared(found: Features | None) -> Features | None:
  """What process 0 found, on all of them."""
  shape = broadcast_one_to_all(np.array(found.features.shape if found else (-1, 0)))
  if shape[0] < 0:
    return None
  own = found or Features(np.zeros(shape, np.float32), np.zeros(shape[0], np.int32))
  return Features(*map(np.asarray, broadcast_one_to_all(own)))
