"""The file formats of an embedding: written part by part, and read back to see how it was made."""

from collections.abc import Callable, Iterator
import csv
import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
import zipfile

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from maskrep.embedding.parts import Parts
from maskrep.workdir.files import replacing, write_atomic

KEY = 'maskrep'  # of the metadata of a parquet file


@dataclasses.dataclass(frozen=True)
class Embedded:
  """An embedding to be written to a file.

  Attributes:
    parts: all of its parts.
    made: how it was made, plain data.
    labelled: whether the source has labels.
    class_names: in the order of the labels; () if the classes have no names.
  """

  parts: Parts
  made: dict[str, Any]
  labelled: bool
  class_names: tuple[str, ...]

  @property
  def fields(self) -> tuple[str, ...]:
    return ('names', 'labels', 'vectors') if self.labelled else ('names', 'vectors')

  @property
  def record(self) -> str:
    """`made` as JSON."""
    return json.dumps(self.made, sort_keys=True)

  def rows(self) -> Iterator[tuple[np.ndarray, ...]]:
    """The `fields` of each part."""
    return zip(*map(self.parts.read, self.fields), strict=True)

  def columns(self, labels: np.ndarray) -> dict[str, list]:
    """The columns label and, if the classes have names, class; None for an image without a label."""
    found = {'label': [int(label) if label >= 0 else None for label in labels]}
    if self.class_names:
      found['class'] = [self.class_names[label] if label >= 0 else None for label in labels]
    return found


def write_parquet(file: BinaryIO, embedded: Embedded) -> None:
  """Columns name, label (int32, null if there is none), class and vector (D float32); one row group per part."""
  tables = (_table(row, embedded) for row in embedded.rows())
  first = next(tables)
  with parquet.ParquetWriter(file, first.schema) as writer:
    for table in itertools.chain([first], tables):
      writer.write_table(table, row_group_size=max(1, table.num_rows))


def _table(row: tuple[np.ndarray, ...], embedded: Embedded) -> pa.Table:
  names, *labels, vectors = row
  columns = {'name': pa.array(names.tolist(), pa.string())}
  if labels:
    columns |= {name: pa.array(column, pa.int32() if name == 'label' else pa.string())
                for name, column in embedded.columns(*labels).items()}
  columns['vector'] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
  return pa.table(columns).replace_schema_metadata({KEY: embedded.record})


def write_npz(file: BinaryIO, embedded: Embedded) -> None:
  """Arrays names, str [M], labels, int32 [M], -1 if there is none, vectors, float32 [M, D], and made, JSON.

  Also class_names, str [C], in the order of the labels, if the classes have names.
  """
  with zipfile.ZipFile(file, 'w') as archive:
    for field in embedded.fields:
      shapes = [(array.dtype, array.shape) for array in embedded.parts.read(field)]
      dtype = max((dtype for dtype, _ in shapes), key=lambda dtype: dtype.itemsize)
      shape = sum(shape[0] for _, shape in shapes), *shapes[0][1][1:]
      _write_npy(archive, field, dtype, shape, embedded.parts.read(field))
    whole = {'made': np.array(embedded.record)}
    if embedded.class_names:
      whole['class_names'] = np.array(embedded.class_names)
    for name, array in whole.items():
      _write_npy(archive, name, array.dtype, array.shape, [array])


def _write_npy(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], arrays) -> None:
  # Without a date, which would make every file different.
  with archive.open(zipfile.ZipInfo(f'{name}.npy'), 'w', force_zip64=True) as member:
    np.lib.format.write_array_header_1_0(member, {'descr': dtype.str, 'fortran_order': False, 'shape': shape})
    for array in arrays:
      member.write(array.astype(dtype).tobytes())


def write_csv(file: BinaryIO, embedded: Embedded) -> None:
  """A header and one row per image: name, label (empty if there is none), class, v0, v1, ..."""
  text = io.TextIOWrapper(file, encoding='utf-8', newline='')
  writer, header = csv.writer(text, lineterminator='\n'), ()
  for names, *labels, vectors in embedded.rows():
    columns = embedded.columns(*labels) if labels else {}
    if not header:
      header = 'name', *columns, *(f'v{i}' for i in range(vectors.shape[1]))
      writer.writerow(header)
    # NumPy's text of a float32 is the shortest that restores its value.
    rows = zip(names, *columns.values(), vectors.astype(str), strict=True)
    writer.writerows((*row, *vector) for *row, vector in rows)
  text.flush()
  text.detach()


def parquet_made(path: Path) -> str:
  return (parquet.read_schema(path).metadata or {})[KEY.encode()].decode()


def npz_made(path: Path) -> str:
  with np.load(path, allow_pickle=False) as arrays:
    return arrays['made'].item()


def csv_made(path: Path) -> str:
  return _beside(path).read_text()


class Format(NamedTuple):
  """A format of the output: the function that writes it, and the one that reads how it was made, as JSON."""

  write: Callable[[BinaryIO, Embedded], None]
  made: Callable[[Path], str]


FORMATS = {'.parquet': Format(write_parquet, parquet_made), '.npz': Format(write_npz, npz_made),
           '.csv': Format(write_csv, csv_made)}


def write(path: Path, embedded: Embedded) -> None:
  """Writes the file, completely or not at all; anything that CSV cannot hold is first written to a JSON file beside it.
  """
  if path.suffix == '.csv':
    write_atomic(_beside(path), embedded.record + '\n')
  with replacing(path) as file:
    FORMATS[path.suffix].write(file, embedded)


def made(path: Path) -> dict[str, Any]:
  """How a file was made, according to its own record; {} if it is not an embedding."""
  try:
    found = json.loads(FORMATS[path.suffix].made(path))
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException):
    return {}
  return found if isinstance(found, dict) else {}


def _beside(path: Path) -> Path:
  return path.with_name(f'{path.name}.json')
