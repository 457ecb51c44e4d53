"""The Universal Embedding Dataset (UnED), Ypsilantis et al. 2023, arXiv:2309.01858: eight domains, by its own lists.

The folder is the `data` folder of the authors' repository (nikosips/Universal-Image-Embeddings): info_files/DOMAIN/
SPLIT.json as they publish them, and below images/ the pictures as each domain's own authors do. A list has one object
per image: its `path` below images/, and `class_id`, a whole number or, for some queries of GLDv2, a list of several.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from maskrep.data.sources.folder import look, read_image
from maskrep.data.sources.source import Example
from maskrep.errors import ConfigError

# Domain, in the order of the papers' tables -> the lists of its queries and of its index in the test. If both are the
# same, an image does not find itself.
TEST = {
  'food2k': ('test', 'test'), 'cars': ('test', 'test'), 'sop': ('test', 'test'), 'inshop': ('test', 'index'),
  'inat': ('test', 'test'), 'met': ('test', 'index'), 'gldv2': ('test', 'index'), 'rp2k': ('test', 'test')}


class UnED:
  """The images of one list; a split is DOMAIN/LIST, as 'met/index'.

  An image may have several right classes, in `classes`, so an example's label is its own number, as if each image were
  its own class: features can be matched with their images even if some images cannot be read.

  Attributes:
    domain: the domain.
    classes: the right classes of each image, which are those of its domain alone.

  Raises:
    ConfigError: there is no such list, it has another form, or none of its images can be read.
  """

  num_classes, map_classes, map_lookup = 0, 0, None
  class_names, labels = None, None

  def __init__(self, path: str, split: str):
    field = f'config.data.source=uned:{path}'
    self.domain, _, title = split.partition('/')
    file = Path(path) / 'info_files' / self.domain / f'{title}.json'
    try:
      content = file.read_bytes()
      entries = json.loads(content)
    except (OSError, ValueError) as error:
      raise ConfigError(f'{field}: its list {file} cannot be read ({error}); give the folder with info_files and '
                        'images of UnED, and a split DOMAIN/LIST, as cars/test') from error
    self._root = os.path.join(path, 'images')
    self._names, self.classes = [], []
    for number, entry in enumerate(entries if isinstance(entries, list) else [None]):
      name, classes = _entry(entry)
      if not name or not classes:
        raise ConfigError(f'{field}: entry {number} of {file} has no path with class_id, as the lists of UnED have; '
                          'unpack them again')
      self._names.append(_there(self._root, name))
      self.classes.append(classes)
    if not self._names:
      raise ConfigError(f'{field}: {file} names no image; unpack the lists of UnED again')
    self.side, _ = look(field, self._root, self._names)
    self.fingerprint = f'uned:{split}:{len(self)}:{hashlib.sha256(content).hexdigest()[:16]}'
    self.summary = f'{len(self)} images of {len(frozenset().union(*self.classes))} classes'

  def __len__(self) -> int:
    return len(self._names)

  def __getitem__(self, index: int) -> Example:
    return Example(read_image(self.name(index)), range(len(self))[index], self.name(index))

  def name(self, index: int) -> str:
    return os.path.join(self._root, self._names[index])


def _entry(entry: Any) -> tuple[str, frozenset[int]]:
  """The path and the classes of an object of a list; '' or no class if it has another form."""
  if not isinstance(entry, dict) or not isinstance(entry.get('path'), str):
    return '', frozenset()
  found = entry.get('class_id')
  classes: list[Any] = found if isinstance(found, list) else [found]
  return entry['path'], frozenset(classes) if all(type(each) is int for each in classes) else frozenset()


def _there(root: str, name: str) -> str:
  """The name under which an image was unpacked: for RP2K's Chinese characters unzip may write '#U' and their code."""
  if name.isascii() or os.path.exists(os.path.join(root, name)):
    return name
  return ''.join(each if each.isascii() else f'#U{ord(each):04x}' for each in name)
