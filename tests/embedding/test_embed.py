"""`maskrep embed`: what is in the file, that it streams and resumes to the same bytes, and what it refuses."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
from PIL import Image
from pyarrow import parquet
import pytest

from maskrep.cli import embed
from maskrep.configs import msn_digits
from maskrep.data.sources.digits import Digits
from maskrep.embedding import stream
from maskrep.embedding.parts import Parts
from maskrep.experiment import stored
from maskrep.weights import native
from maskrep.weights.pretrained import digest
from tests.support.encoders import VIT, pretrained
from tests.support.processes import ROOT, free_port
from tests.support.stored import store
from tests.support.tiny import shrink

FORMATS = '.parquet', '.npz', '.csv'


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  store(shrink(msn_digits.get_config()), folder)
  return folder


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
  """359 digits are 4 parts of 96 and one of 71."""
  monkeypatch.setattr(stream, 'RECORDS', 100)


def run(workdir, output, code=0, **flags):
  given = {'batch_size': 32, 'data.split': 'test'} | flags
  assert embed.main(['', f'--workdir={workdir}', f'--output={output}',
                     *(f'--{name}={value}' for name, value in given.items())]) == code


def read(path) -> tuple[list[str], list[int] | None, list[str] | None, np.ndarray, dict]:
  """Names, labels, classes, vectors and how they were made, by the libraries that people use."""
  if path.suffix == '.parquet':
    table = parquet.read_table(path)
    labels, classes = (table[name].to_pylist() if name in table.column_names else None for name in ('label', 'class'))
    vectors = np.array(table['vector'].to_pylist(), np.float32)
    return table['name'].to_pylist(), labels, classes, vectors, json.loads(table.schema.metadata[b'maskrep'])
  if path.suffix == '.npz':
    with np.load(path) as arrays:
      labels = arrays['labels'].tolist() if 'labels' in arrays else None
      classes = arrays['class_names'][labels].tolist() if 'class_names' in arrays else None
      return arrays['names'].tolist(), labels, classes, arrays['vectors'], json.loads(arrays['made'].item())
  with open(path, newline='') as file:
    header, *rows = csv.reader(file)
  first = header.index('v0')
  labels = [int(row[1]) for row in rows] if 'label' in header else None
  classes = [row[2] for row in rows] if 'class' in header else None
  return ([row[0] for row in rows], labels, classes, np.array([row[first:] for row in rows], np.float32),
          json.loads(path.with_name(f'{path.name}.json').read_text()))


@pytest.fixture(scope='module')
def expected(workdir):
  """The vectors of the test split, as `maskrep evaluate` extracts them."""
  from tests.cli.test_evaluate import evaluator
  found = evaluator(workdir, batch_size=32)
  return found.features(found.eval)


@pytest.mark.parametrize('suffix', FORMATS)
def test_names_labels_vectors_and_how_they_were_made(suffix, workdir, expected, tmp_path, capsys):
  output = tmp_path / 'new' / f'x{suffix}'
  run(workdir, output)
  names, labels, classes, vectors, made = read(output)
  assert classes == list(map(str, expected.labels))
  digits = Digits('test')
  assert names == [digits.name(i) for i in range(359)] and labels == expected.labels.tolist()
  np.testing.assert_array_equal(vectors, expected.features)
  weights = digest(stored.pretrained('', workdir)[0].arrays)
  assert made['encoder'].items() >= {'digest': weights, 'kind': 'vit', 'step': 7}.items()
  assert made['encoding'].items() >= {'network': 'ema', 'pooling': 'class_token', 'size': 16, 'layers': 1}.items()
  assert made['data'] == {'source': 'digits', 'split': 'test', 'canvas': 8, 'fingerprint': digits.fingerprint}
  assert made['images'] == 359 and made['broken'] == 0 and made['maskrep'].keys() == {'version', 'revision'}
  assert {path.name for path in output.parent.iterdir()} - {'x.csv.json'} == {output.name}
  assert f'{output}: 359 vectors of vit {weights}' in capsys.readouterr().out
  before = output.stat()
  run(workdir, output)  # it is done: nothing happens
  assert output.stat() == before


@pytest.mark.parametrize('suffix', FORMATS)
def test_stopped_it_goes_on_and_ends_in_the_same_bytes(suffix, workdir, tmp_path, monkeypatch):
  whole, output = tmp_path / 'whole' / f'x{suffix}', tmp_path / 'stopped' / f'x{suffix}'
  run(workdir, whole)
  stored_parts, store_part = [], Parts.store

  def stop_before_third(self, number, part):
    if len(stored_parts) == 2:
      raise SystemExit
    stored_parts.append(number)
    store_part(self, number, part)

  monkeypatch.setattr(Parts, 'store', stop_before_third)
  with pytest.raises(SystemExit):
    run(workdir, output)
  folder, = output.parent.iterdir()
  assert stored_parts == [0, 1] and sorted(path.name for path in folder.iterdir()) == ['000000.npz', '000001.npz']
  monkeypatch.setattr(Parts, 'store', lambda *args: (stored_parts.append(args[1]), store_part(*args)))
  (folder / '000000.npz').unlink()  # any that is missing is made again
  run(workdir, output)
  assert stored_parts == [0, 1, 0, 2, 3]
  assert output.read_bytes() == whole.read_bytes() and not folder.exists()


def test_only_a_few_batches_are_read_ahead(workdir, tmp_path, monkeypatch):
  """However slowly parts are written, reading waits for them."""
  read_records, ahead, get, store_part = set(), [], Digits.__getitem__, Parts.store
  monkeypatch.setattr(Digits, '__getitem__', lambda self, i: (read_records.add(i), get(self, i))[1])

  def store(self, number, part):
    ahead.append(len(read_records) - (number + 1) * 96)
    store_part(self, number, part)

  monkeypatch.setattr(Parts, 'store', store)
  run(workdir, tmp_path / 'x.npz')
  assert len(ahead) == 4 and max(ahead) <= 3 * 32


def test_a_folder_with_a_broken_image_and_an_import(tmp_path, capsys):
  native.save(tmp_path / 'import', pretrained('vit', VIT | {'image_size': 32}))
  photos = tmp_path / 'photos'
  photos.mkdir()
  for i in range(7):
    Image.fromarray(np.full((9, 12, 3), 30 * i, np.uint8)).save(photos / f'{i}.png')
  (photos / '3.png').write_bytes(b'<html>')
  os.rename(photos / '5.png', os.fsencode(photos) + b'/5\xff.png')
  source, output = {'data.source': f'folder:{photos}', 'data.split': 'train', 'batch_size': 4}, tmp_path / 'x.parquet'
  run(tmp_path / 'import', output, 3, **source)
  assert '--data.max_broken_fraction=0.001: 1 of 7 images' in capsys.readouterr().err and not output.exists()
  run(tmp_path / 'import', output, **source, **{'data.max_broken_fraction': 0.2})
  assert 'cannot be read and are left out: 1' in capsys.readouterr().out
  names, labels, classes, vectors, made = read(output)
  kept = [name.rpartition('/')[2] for name in names]
  assert kept == ['0.png', '1.png', '2.png', '4.png', '5\\udcff.png', '6.png'] and labels is classes is None
  assert vectors.shape == (6, 24) and (made['images'], made['broken']) == (6, 1) and made['data']['canvas'] == 512
  run(tmp_path / 'import', tmp_path / 'y.csv', 2)
  assert '--data.source: is needed, as' in capsys.readouterr().err


@pytest.mark.parametrize(('flags', 'said'), [
  ({'output': 'x.txt'}, 'must end with .parquet or .npz or .csv'),
  ({'output': 'taken.npz'}, 'exists already, and is not this embedding'),
  ({'layers': 3}, '--layers=3: this encoder, a vit, has 2 to give'),
  ({'batch_size': 0}, '--batch_size=0: must be at least 1'),
  ({'data.source': 'folder:/no/such'}, '=folder:/no/such: is not a folder'),
  ({'data.split': 'validation'}, "has no split 'validation'")])
def test_what_cannot_be_is_said_in_one_line(flags, said, workdir, tmp_path, capsys):
  np.savez(tmp_path / 'taken.npz', a=1)
  run(workdir, tmp_path / flags.pop('output', 'x.npz'), 2, **flags)
  err = capsys.readouterr().err
  assert said in err and err.count('\n') == 1 and 'config.' not in err, err
  assert {path.name for path in tmp_path.iterdir()} == {'taken.npz'}


def test_two_processes_write_one_file(workdir, expected, tmp_path):
  output = tmp_path / 'x.npz'
  command = [sys.executable, '-m', 'maskrep', 'embed', f'--workdir={workdir}', f'--output={output}', '--batch_size=32',
             '--data.split=test', f'--coordinator=localhost:{free_port()}', '--num_processes=2']
  two = [subprocess.Popen([*command, f'--process_id={i}'], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) for i in range(2)]
  said = [process.communicate(timeout=120) for process in two]
  assert [process.returncode for process in two] == [0, 0], said
  assert '359 vectors' in said[0][0] and '359 vectors' not in said[1][0]
  names, labels, _, vectors, _ = read(output)
  assert names[-1] == Digits('test').name(358) and labels == expected.labels.tolist()
  np.testing.assert_allclose(vectors, expected.features, atol=1e-5)
