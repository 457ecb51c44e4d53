"""Embeds a data set: writes one file with a vector per image and a record of how it was made."""

from collections.abc import Mapping
import glob
import json
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from maskrep.data.datasets import UNDESCRIBED, Data, open_source
from maskrep.data.sources.source import Source
from maskrep.devices.agreement import check_same, gather, together
from maskrep.embedding import writers
from maskrep.embedding.parts import Parts, as_utf8
from maskrep.embedding.stream import part_records, stream
from maskrep.errors import CheckpointError, ConfigError
from maskrep.evaluation.encoders import StoredEncoder
from maskrep.evaluation.encoding import Encoding
from maskrep.experiment import same, stored
from maskrep.process.version import __version__
from maskrep.schema import build
from maskrep.workdir.config import holds_run
from maskrep.workdir.starts import describe_start

log = logging.getLogger(__name__)


def embed(
  workdir: Path, output: Path, *, data: Mapping[str, Any], encoding: Encoding, dtype: jnp.dtype,
) -> str:
  """Writes the vectors of all readable images, or resumes that. Called in every process of a command.

  Args:
    workdir: a run, or a folder that `maskrep import` wrote.
    output: a file with the suffix of one of `writers.FORMATS`.
    data: the fields of the section `data` that differ from the run's, and `split`, by default the training split of
      the run, or 'train' for another source.
    encoding, dtype: as in an evaluation.

  Returns:
    A one-line summary of the file's contents.

  Raises:
    ConfigError: there is no such encoder or data set, or `output` exists and is another file.
    DataError: too many images cannot be read.
    CheckpointError: a file cannot be written or read.
  """
  if output.suffix not in writers.FORMATS:
    raise ConfigError(f'--output={output}: must end with {" or ".join(writers.FORMATS)}')
  encoder, images, split = _opened(workdir, data, encoding, dtype)
  source = together(lambda: open_source(images, split))
  made = _made(encoder, images, split, source)
  check_same(same.of_config(made, describe_start('')))
  parts = Parts.of(output, made, -(-len(source) // part_records(encoding.batch_size)))
  first = jax.process_index() == 0
  plan = gather({'plan': together(lambda: _plan(output, parts, made) if first else None)})[0]['plan']
  try:
    if plan['missing']:
      for number, part in stream(encoder, images, source, plan['missing'], plan['broken']):
        if first:
          parts.store(number, part)
    if first and not plan['done']:
      counts = {'images': sum(map(len, parts.read('labels'))), 'broken': parts.broken()}
      record = made | counts | {'workdir': str(workdir)}
      class_names = tuple(map(as_utf8, source.class_names or ()))
      writers.write(output, writers.Embedded(parts, record, source.num_classes > 0, class_names))
      parts.remove()
  except OSError as error:
    raise CheckpointError(f'--output={output}: cannot be written any more ({error}); free space or repair the disk, '
                          'then run the same command: it continues from what is done') from error
  return _summary(output) if first else ''


def _opened(
  workdir: Path, data: Mapping[str, Any], encoding: Encoding, dtype: jnp.dtype
) -> tuple[StoredEncoder, Data, str]:
  """The encoder, the data section and the split."""
  what = f'--workdir={workdir}'
  pretrained, _ = stored.pretrained(what, workdir, encoding.network)
  own = pretrained.source['config']['data'] if holds_run(workdir) else UNDESCRIBED
  fields = own | {name: value for name, value in data.items() if name != 'split'}
  if not fields['source']:
    raise ConfigError(f'--data.source: is needed, as {what} holds an import, which has no data of its own; name the '
                      'images, as folder:PATH')
  split = data.get('split', own['train_split'] if fields['source'] == own['source'] else 'train')
  if fields['source'] != own['source']:
    fields |= {'train_split': split, 'eval_split': ''}
  encoder = StoredEncoder(what=what, pretrained=pretrained, encoding=encoding, dtype=dtype)
  return encoder, build(Data, fields, 'config.data'), split


def _made(encoder: StoredEncoder, data: Data, split: str, source: Source) -> dict[str, Any]:
  """How the vectors are made, as plain data: everything they depend on."""
  pretrained = encoder.pretrained
  return json.loads(json.dumps({
    'maskrep': {'version': __version__, 'revision': describe_start('')['revision']},
    'encoder': {'digest': encoder.digest, 'kind': pretrained.kind, 'sizes': pretrained.config,
                'step': pretrained.source.get('step')},
    'encoding': encoder.settings,
    'data': {'source': data.source, 'split': split, 'canvas': data.canvas, 'fingerprint': source.fingerprint}}))


def _plan(output: Path, parts: Parts, made: dict[str, Any]) -> dict[str, Any]:
  """The parts that remain to be computed, and whether the file is complete.

  Raises:
    ConfigError: `output` exists, and is not this embedding.
  """
  if output.exists():
    found = writers.made(output)
    if {name: found.get(name) for name in made} != made:
      raise ConfigError(f'--output={output}: exists already, and is not this embedding; remove it, or give another '
                        'path')
    return {'done': True, 'missing': [], 'broken': 0}
  for other in output.parent.glob(f'{glob.escape(output.name)}.parts-*'):
    if other != parts.folder:
      log.warning('%s: holds parts of another embedding, which this one cannot use; remove it if nobody needs it',
                  other)
  missing = parts.missing()
  if len(missing) < parts.count:
    log.warning('%s: %d of %d parts are left to do', output, len(missing), parts.count)
  return {'done': False, 'missing': missing, 'broken': parts.broken()}


def _summary(output: Path) -> str:
  made = writers.made(output)
  broken = f'; images that cannot be read and are left out: {made["broken"]}' if made['broken'] else ''
  return f'{output}: {made["images"]} vectors of {made["encoder"]["kind"]} {made["encoder"]["digest"]}{broken}'
