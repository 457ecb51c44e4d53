"""Lists of images by name: a file with one a line, as facebookresearch/msn publishes its few labels."""

from concurrent import futures
from pathlib import Path, PurePosixPath

import numpy as np

from maskrep.data.sources import Source
from maskrep.errors import ConfigError


def read_list(path: str, source: Source) -> np.ndarray:
  """The places in a source, int64 [M] ascending, of the images that a file names, with or without folders.

  Raises:
    ConfigError: the file cannot be read, is empty or names an image twice, or the source has one not at all or twice.
  """
  field = f'lists={path!r}'
  try:
    lines = Path(path).expanduser().read_text().split('\n')
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f'{field}: cannot be read ({error}); give a file with the name of an image a line') from error
  wanted = [PurePosixPath(line.strip()).name for line in lines if line.strip()]
  if not wanted or len(set(wanted)) < len(wanted):
    raise ConfigError(f'{field}: names {"an image twice" if wanted else "no image"}; give a name a line, each once')
  with futures.ThreadPoolExecutor(16) as pool:  # of a tfds data set, names are inside the records
    names = [PurePosixPath(name).name for name in pool.map(source.name, range(len(source)))]
  found = {}
  for place, name in enumerate(names):
    found.setdefault(name, []).append(place)
  for name in wanted:
    if len(found.get(name, ())) != 1:
      raise ConfigError(f'{field}: {name!r} is {"there more than once" if name in found else "not there"} in '
                        f'{source.fingerprint}; take the list of these images')
  return np.sort([found[name][0] for name in wanted])
