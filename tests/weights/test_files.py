"""Files of weights: reading returns what was written; damaged or hostile files are refused in one line."""

import argparse
import io
import json
import os
import pickle
import struct
import sys
import zipfile

from flax import serialization
import ml_dtypes
import numpy as np
import pytest

from maskrep.errors import ConfigError
from maskrep.weights import files

RNG = np.random.default_rng(0)
NESTED = {
  'encoder': {'kernel': RNG.normal(size=(3, 5)).astype(np.float32), 'steps': np.arange(7)},
  'blocks': {'0': {'bias': RNG.normal(size=11).astype(np.float32)}},
  'scalar': np.array(2.5, np.float32),
}
FLAT = {'encoder.kernel': NESTED['encoder']['kernel'], 'encoder.steps': NESTED['encoder']['steps'],
        'blocks.0.bias': NESTED['blocks']['0']['bias'], 'scalar': NESTED['scalar']}
WRITE = {
  '.safetensors': lambda path: files.write_safetensors(path, FLAT, {'made by': 'a test'}),
  '.npz': lambda path: files.write_npz(path, FLAT),
  '.pth.tar': lambda path: files.write_torch(path, NESTED | {'epoch': 3, 'note': 'text', 'lr': [0.1, 0.2]}),
  '.ckpt': lambda path: files.write_torch(path, {name: array.copy('F') for name, array in FLAT.items()}),
  '.msgpack': lambda path: path.write_bytes(serialization.msgpack_serialize(NESTED | {'epoch': 3, 'note': 'text'})),
}


@pytest.fixture(params=WRITE)
def written(request, tmp_path):
  if request.param in ('.pth.tar', '.ckpt'):
    pytest.importorskip('torch')
  path = tmp_path / f'weights{request.param}'
  WRITE[request.param](path)
  return path


def refusal(path) -> str:
  with pytest.raises(ConfigError) as error:
    files.read(path)
  message = str(error.value)
  assert message.startswith(f'{path}: ') and len(message.splitlines()) == 1 and len(message) < 600
  return message


def same(read, wanted):
  assert set(read) == set(wanted)
  for name, array in wanted.items():
    assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read[name], array)


def test_what_is_written_is_read_back(written):
  same(files.read(written), FLAT)
  assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_safetensors_keep_their_metadata(tmp_path):
  files.write_safetensors(tmp_path / 'a.safetensors', {'t': np.arange(6.0).reshape(2, 3).T}, {'licence': 'Apache-2.0'})
  content = (tmp_path / 'a.safetensors').read_bytes()
  header = json.loads(content[8:8 + struct.unpack('<Q', content[:8])[0]])
  assert header['__metadata__'] == {'licence': 'Apache-2.0'}
  same(files.read(tmp_path / 'a.safetensors'), {'t': np.arange(6.0).reshape(2, 3).T})


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_halves_become_float32(dtype, tmp_path):
  torch = pytest.importorskip('torch')
  from safetensors.torch import save_file

  tensor = torch.tensor([1.5, -0.25, 3.0], dtype=getattr(torch, dtype))
  half = np.array([1.5, -0.25, 3.0], dtype if dtype == 'float16' else ml_dtypes.bfloat16)
  torch.save({'x': tensor}, tmp_path / 'x.pt')
  save_file({'x': tensor}, tmp_path / 'x.safetensors')
  (tmp_path / 'x.msgpack').write_bytes(serialization.msgpack_serialize({'x': half}))
  for suffix in ('pt', 'safetensors', 'msgpack'):
    same(files.read(tmp_path / f'x.{suffix}'), {'x': half.astype(np.float32)})


def test_parameters_lists_and_shared_dicts_of_torch(tmp_path):
  torch = pytest.importorskip('torch')
  weights = {'w': torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T)}
  torch.save({'model': weights, 'ema': weights, 'list': [weights, 1]}, tmp_path / 'x.pth')
  w = weights['w'].detach().numpy()
  same(files.read(tmp_path / 'x.pth'), {'model.w': w, 'ema.w': w, 'list.0.w': w})


def test_a_file_cut_anywhere_is_refused(written):
  content = written.read_bytes()
  size = len(content)
  for keep in sorted({*range(0, min(size, 300), 7), *range(0, size, size // 40), size - 100, size - 1}):
    written.write_bytes(content[:keep])
    refusal(written)


def test_flipped_bytes_in_the_header_never_crash(written):
  content = written.read_bytes()
  wrong = 0
  for at in [*range(min(256, len(content))), *range(len(content) - 100, len(content))]:
    for flip in (0x01, 0x80, 0xFF):
      written.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1:])
      try:
        for array in files.read(written).values():  # a changed letter in a name or value leaves a valid file
          assert array.dtype.kind in 'fiub'
      except ConfigError as error:
        assert len(str(error).splitlines()) == 1
        wrong += 1
  assert wrong > 50


@pytest.mark.parametrize('content', [
  b'', b'\0', b'\0' * 4096, b'PK\3\4' * 9, b'<!DOCTYPE html>\n<html></html>' * 9,
  b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'])
@pytest.mark.parametrize('suffix', ['.safetensors', '.npz', '.pth', '.tar', '.msgpack'])
def test_what_is_no_such_file_is_refused(suffix, content, tmp_path):
  (tmp_path / f'x{suffix}').write_bytes(content)
  refusal(tmp_path / f'x{suffix}')


def test_one_kind_under_the_name_of_another_is_refused(written):
  mine = '.pth' if written.suffix in ('.ckpt', '.tar') else written.suffix
  for suffix in {'.safetensors', '.npz', '.pth', '.msgpack'} - {mine}:
    other = written.with_name('other' + suffix)
    other.write_bytes(written.read_bytes())
    refusal(other)


def test_other_paths_are_refused(tmp_path):
  assert 'does not exist' in refusal(tmp_path / 'none.npz')
  assert 'not a supported kind of file' in refusal(tmp_path / 'x.h5')
  (tmp_path / 'folder.npz').mkdir()
  assert 'is not a file' in refusal(tmp_path / 'folder.npz')
  np.savez(tmp_path / 'empty.npz')
  assert 'has no arrays' in refusal(tmp_path / 'empty.npz')
  np.save(tmp_path / 'one.npy', np.zeros(3))
  (tmp_path / 'one.npy').rename(tmp_path / 'one.npz')
  assert 'one array' in refusal(tmp_path / 'one.npz')


class RunsCode:
  def __init__(self, proof):
    self.proof = proof

  def __reduce__(self):
    return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.ckpt', '.pth.tar', '.npz', '.safetensors', '.msgpack'])
@pytest.mark.parametrize('zipped', [True, False])
def test_no_pickle_is_executed(zipped, suffix, tmp_path):
  torch = pytest.importorskip('torch')
  path, proof = tmp_path / f'x{suffix}', tmp_path / 'proof'
  if suffix != '.npz':
    torch.save({'w': torch.zeros(2), 'x': RunsCode(proof)}, path, _use_new_zipfile_serialization=zipped)
  elif zipped:
    np.savez(path, w=np.zeros(2), x=np.array([RunsCode(proof)], object))
  else:
    path.write_bytes(pickle.dumps({'x': RunsCode(proof)}))
  message = refusal(path)
  assert not proof.exists()
  if suffix.startswith(('.p', '.c')):
    assert 'mkdir' in message and 'could run code' in message
  # A reader without the check does run its code.
  if suffix != '.npz':
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert proof.exists()


def test_an_npz_of_objects_is_refused(tmp_path):
  np.savez(tmp_path / 'x.npz', w=np.zeros(2), x=np.array([{'a': 1}], object))
  assert 'Object arrays cannot be loaded' in refusal(tmp_path / 'x.npz')


def test_a_namespace_is_refused_by_name(tmp_path):
  torch = pytest.importorskip('torch')
  torch.save({'state_dict': {'w': torch.zeros(2)}, 'args': argparse.Namespace(lr=1)}, tmp_path / 'x.ckpt')
  assert 'refers to argparse.Namespace' in refusal(tmp_path / 'x.ckpt')


@pytest.mark.parametrize('header', [
  b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
  b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}',
  b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
  b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
  b'{"a":{"dtype":"OBJECT","shape":[1],"data_offsets":[0,4]}}',
  b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}',
  b'{"a":{"dtype":"F32","shape":[9223372036854775807,3],"data_offsets":[0,4]}}',
  b'[' * 2000, b'{"__metadata__":{}}',
])
def test_safetensors_headers_that_lie_are_refused(header, tmp_path):
  (tmp_path / 'x.safetensors').write_bytes(struct.pack('<Q', len(header)) + header + b'\0' * 4)
  refusal(tmp_path / 'x.safetensors')
  (tmp_path / 'x.safetensors').write_bytes(struct.pack('<Q', 1 << 62) + header)
  refusal(tmp_path / 'x.safetensors')


def test_sizes_that_no_memory_has_are_refused(tmp_path):
  torch = pytest.importorskip('torch')
  torch.save({'x': torch.zeros(1).expand(1 << 40)}, tmp_path / 'x.pt')
  assert 'larger than its own storage' in refusal(tmp_path / 'x.pt')
  np.savez_compressed(tmp_path / 'zeros.npz', x=np.zeros(9 << 20))
  assert 'would unpack to' in refusal(tmp_path / 'zeros.npz')
  npy = io.BytesIO()
  np.lib.format.write_array_header_1_0(npy, {'descr': '<f4', 'fortran_order': False, 'shape': (1 << 50,)})
  with zipfile.ZipFile(tmp_path / 'liar.npz', 'w') as archive:
    archive.writestr('x.npy', npy.getvalue())
  refusal(tmp_path / 'liar.npz')


def test_nesting_without_end_is_refused(tmp_path):
  torch = pytest.importorskip('torch')
  itself = {'w': torch.zeros(2)}
  itself['again'] = itself
  torch.save(itself, tmp_path / 'itself.pt')
  assert 'nested without end' in refusal(tmp_path / 'itself.pt')
  laughs = [1]
  for _ in range(60):
    laughs = [laughs, laughs]
  torch.save({'x': laughs}, tmp_path / 'laughs.pt')
  assert 'nested without end' in refusal(tmp_path / 'laughs.pt')
  (tmp_path / 'deep.msgpack').write_bytes(b'\x91' * 3000 + b'\xc0')
  refusal(tmp_path / 'deep.msgpack')


def test_msgpack_arrays_that_lie_are_refused(tmp_path):
  import msgpack

  for shape, dtype, content in (((1 << 40,), 'float32', b'\0' * 8), ((1,), 'O', b'\0' * 8), ((2,), 'no', b'\0' * 8)):
    array = msgpack.ExtType(1, msgpack.packb((shape, dtype, content)))
    (tmp_path / 'x.msgpack').write_bytes(msgpack.packb({'x': array}))
    refusal(tmp_path / 'x.msgpack')


def test_sparse_tensors_and_two_of_one_name_are_refused(tmp_path):
  torch = pytest.importorskip('torch')
  torch.save({'x': torch.eye(3).to_sparse()}, tmp_path / 'x.pt')
  assert "'x' is not a dense tensor" in refusal(tmp_path / 'x.pt')
  torch.save({'a': {'b': torch.zeros(2)}, 'a.b': torch.ones(2)}, tmp_path / 'y.pt')
  assert "two arrays named 'a.b'" in refusal(tmp_path / 'y.pt')


def test_without_torch_the_error_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  (tmp_path / 'x.pth').write_bytes(b'PK')
  assert 'torch>=2.10' in refusal(tmp_path / 'x.pth')
  with pytest.raises(ConfigError, match='torch>=2.10'):
    files.write_torch(tmp_path / 'y.pth', {})


def test_a_write_that_fails_leaves_the_file_before(tmp_path):
  path = tmp_path / 'x.npz'
  files.write_npz(path, FLAT)
  with pytest.raises(ValueError):
    files.write_npz(path, {'x': np.array([{}], object)})
  same(files.read(path), FLAT)
