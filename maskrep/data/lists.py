"""Lists of images by name: a file with one a line, as facebookresearch/msn publishes its few labels."""

from concurrent import futures
import logging
from pathlib import Path, PurePosixPath

import numpy as np

from maskrep.data.sources.source import Source
from maskrep.errors import ConfigError

log = logging.getLogger(__name__)


def places(source: Source) -> dict[str, list[int]]:
  """The places of the images of a source by name, without folders; one whose record cannot be read has none."""

  def name(index: int) -> str:
    try:
      return PurePosixPath(source.name(index)).name
    except OSError as error:
      log.warning('record %d of %s has no name: %s', index, source.fingerprint, error)
      return ''

  found = {}
  with futures.ThreadPoolExecutor(16) as pool:  # of a tfds data set, names are inside the records
    for place, each in enumerate(pool.map(name, range(len(source)))):
      found.setdefault(each, []).append(place)
  return found


def read_list(path: str, known: dict[str, list[int]]) -> np.ndarray:
  """The places in a source, int64 [M] ascending, of the images that a file names, with or without folders.

  Args:
    known: `places` of the source.

  Raises:
    ConfigError: the file cannot be read, is empty or names an image twice, or the source has one not at all or twice.
  """
  field = f'lists={path!r}'
  try:
    lines = Path(path).read_text().split('\n')
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f'{field}: cannot be read ({error}); give a file with the name of an image a line') from error
  wanted = [PurePosixPath(line.strip()).name for line in lines if line.strip()]
  if not wanted or len(set(wanted)) < len(wanted):
    raise ConfigError(f'{field}: names {"an image twice" if wanted else "no image"}; give a name a line, each once')
  for name in wanted:
    if len(known.get(name, ())) != 1:
      raise ConfigError(f'{field}: {name!r} is {"there more than once" if name in known else "not there"} in the '
                        'training split; take the list of these images')
  return np.sort([known[name][0] for name in wanted])
