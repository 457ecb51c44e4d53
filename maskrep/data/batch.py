"""A batch on the host: its fields, and reading a record into one of its rows."""

import logging
import math
import threading

import numpy as np

from maskrep.data.decode import BrokenImage, decode, decode_label_map
from maskrep.data.label_maps import NONE
from maskrep.data.sources.source import Source
from maskrep.errors import DataError

FIELDS = 'image', 'size', 'position', 'label', 'label_map'  # see maskrep.types
NAMED = 20  # images named in the log and in an error

Batch = dict[str, np.ndarray]

log = logging.getLogger(__name__)


def check_fields(reads: tuple[str, ...]) -> None:
  """Raises ValueError if a batch has no field of one of these names."""
  for name in reads:
    if name not in FIELDS:
      raise ValueError(f'reads={reads!r}: a batch has no field {name!r}; the fields are {", ".join(FIELDS)}')


def empty_batch(first_position: int, rows: int, canvas: int, reads: tuple[str, ...]) -> Batch:
  """Black images of 1 x 1 pixels, without a class.

  All fields exist whatever is in `reads`, except for label maps, as reading them costs a file and a decoding.
  """
  maps = {'label_map': np.full((rows, canvas, canvas), NONE, np.uint8)} if 'label_map' in reads else {}
  return maps | {
    'image': np.zeros((rows, canvas, canvas, 3), np.uint8),
    'size': np.ones((rows, 2), np.int32),
    'position': np.arange(first_position, first_position + rows).astype(np.uint32),
    'label': np.full(rows, -1, np.int32),
  }


class BrokenImages:
  """Images that cannot be read. The first NAMED of them are logged, each once.

  Attributes:
    reasons: name -> reason.
  """

  def __init__(self):
    self.reasons: dict[str, Exception] = {}
    self._lock = threading.Lock()

  def add(self, name: str, reason: Exception) -> None:
    with self._lock:
      if name not in self.reasons and len(self.reasons) < NAMED:
        log.warning('%s cannot be read: %s', name, reason)
        self.reasons[name] = reason

  def __str__(self) -> str:
    return ', '.join(self.reasons)


def read_into(batch: Batch, row: int, source: Source, record: int, broken: BrokenImages) -> bool:
  """Reads one record into a row of a batch.

  Returns:
    False if the record cannot be read; it is then added to `broken`, and the row is unchanged.

  Raises:
    DataError: its label, or a value of its label map, is not one of the source's classes.
  """
  name = f'record {record} of {source.fingerprint}'
  try:
    example = source[record]
    label, name = example.label, example.name
    pixels = decode(example.image, canvas=batch['image'].shape[1], bits=example.bits)
    height, width, _ = pixels.shape
    if 'label_map' in batch:
      classes = decode_label_map(example.label_map, source.map_lookup, size=(height, width))
  except (BrokenImage, OSError) as error:
    broken.add(name, error)
    return False
  batch['image'][row, :height, :width] = pixels
  batch['size'][row] = height, width
  batch['label'][row] = label
  if not -1 <= label < (source.num_classes or math.inf):
    raise DataError(f'config.data.source: {name} has label {label}, but there are {source.num_classes} classes; '
                    'prepare the data again')
  if 'label_map' in batch:
    if np.any((classes >= source.map_classes) & (classes != NONE)):
      raise DataError(f'config.data.source: {name} has a label map with a value that is none of its '
                      f'{source.map_classes} classes; prepare the data again')
    batch['label_map'][row, :height, :width] = classes
  return True
