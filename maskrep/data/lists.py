"""Lists of images: files with one name per line, as in the low-shot subsets of facebookresearch/msn."""

from collections.abc import Iterable
from concurrent import futures
import glob
import logging
import os
from pathlib import Path, PurePosixPath

import numpy as np

from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError

log = logging.getLogger(__name__)


def places(source: Source) -> dict[str, list[int]]:
  """{name without folders: indices of the images in a source}; images whose record cannot be read are left out."""

  def name(index: int) -> str:
    try:
      return PurePosixPath(source.name(index)).name
    except OSError as error:
      log.warning('record %d of %s has no name: %s', index, source.fingerprint, error)
      return ''

  found = {}
  with futures.ThreadPoolExecutor(16) as pool:  # the names of a tfds data set are inside its records
    for place, each in enumerate(pool.map(name, range(len(source)))):
      found.setdefault(each, []).append(place)
  return found


def matching(patterns: Iterable[str]) -> dict[str, list[str]]:
  """{pattern: the sorted files that it matches, or the pattern itself if there are none, as for the path of a file}."""
  return {pattern: sorted(glob.glob(os.path.expanduser(pattern))) or [pattern] for pattern in patterns}


def read_list(field: str, path: str, known: dict[str, list[int]]) -> np.ndarray:
  """The indices in a source, int64 [M] ascending, of the images that a file names, with or without folders.

  Args:
    field: the field that named the file, and its value, for errors.
    known: `places` of the source.

  Raises:
    ConfigError: the file cannot be read, is empty or names an image twice, or the source does not contain each image
      exactly once.
  """
  try:
    lines = Path(path).expanduser().read_text().split('\n')
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f'{field}: cannot be read ({error}); give a file with one name of an image per line') from error
  wanted = [PurePosixPath(line.strip()).name for line in lines if line.strip()]
  if not wanted or len(set(wanted)) < len(wanted):
    raise ConfigError(f'{field}: names {"an image twice" if wanted else "no image"}; give one name per line, each once')
  for name in wanted:
    if len(known.get(name, ())) != 1:
      raise ConfigError(f'{field}: {name!r} is {"there more than once" if name in known else "not there"} in the '
                        'training split; take the list of these images')
  return np.sort([known[name][0] for name in wanted])
