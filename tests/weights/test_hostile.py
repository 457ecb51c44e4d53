"""Weights and side files that claim sizes which they do not hold: one line, soon, and no memory."""

import functools
import json
import os
from pathlib import Path
import struct
import subprocess
import sys
import time
import zipfile

import msgpack
import numpy as np
import pytest

from maskrep.cli import import_weights
from maskrep.errors import ConfigError
from maskrep.weights import claims, files, native, strict
from maskrep.weights.formats import hf_vit_msn, timm_cait, timm_vit, torchvision_resnet
from maskrep.weights.pretrained import IMAGENET, plain
from maskrep.weights.side_files import MAX_BYTES
from tests.support.encoders import CAIT, MASKGIT, RESNET, VIT, VQGAN, pretrained, run

LEARNED = CAIT | {'positions': 'learned'}
TINY_RESNET = RESNET | {'width': 1 / 16}
HUGE = 10**9
# Kind, config, fields that become huge, and a part of the answer.
DESCRIPTIONS = [
  *(('vit', VIT, {field: HUGE}, f'{field}={HUGE}') for field in (
    'depth', 'width', 'image_size', 'heads', 'patch_size')),
  ('vit', VIT, {'width': HUGE, 'heads': HUGE}, 'width='), ('vit', VIT, {'mlp_ratio': 1e9}, 'mlp_ratio='),
  ('vit', VIT, {'mlp_ratio': 1e308}, 'mlp_ratio='), ('vit', VIT, {'depth': 10**4000}, 'depth=1000'),
  ('vit', VIT, {'image_size': 2048, 'patch_size': 1}, 'attention between 4194304 patches with 3 heads'),
  ('vit', VIT, {'width': 30_000, 'heads': 1}, 'too few for such a network'),
  ('vit', VIT, {'depth': 900}, 'encoder has 900 blocks, and at most'),
  ('cait', CAIT, {'class_depth': 900}, 'encoder has 902 blocks, and at most'),
  ('cait', CAIT, {'image_size': HUGE}, f'image_size={HUGE}'),
  ('cait', CAIT, {'image_size': 2048, 'patch_size': 1}, 'attention between 4194304 patches'),
  ('cait', CAIT, {'image_size': 600, 'width': 30_000, 'heads': 1}, '22500 positions of width 30000'),
  ('cait', LEARNED, {'image_size': HUGE}, f'image_size={HUGE}'),
  ('resnet', TINY_RESNET, {'width': 1e7}, 'width=10000000.0'),
  *(('vqgan', VQGAN, {field: HUGE}, f'{field}={HUGE}') for field in (
    'codebook_size', 'embedding', 'encoder_blocks', 'decoder_blocks', 'groups')),
  ('vqgan', VQGAN, {'channels': 32 * HUGE}, 'channels='), ('vqgan', VQGAN, {'multipliers': [1, HUGE]}, 'multipliers='),
  ('vqgan', MASKGIT, {'multipliers': [1] * 10_000}, 'at most'),
  ('vqgan', VQGAN, {'multipliers': [1] * 40, 'attention_levels': []}, 'multiple'),
  ('vqgan', VQGAN, {'encoder_blocks': 900, 'multipliers': [1] * 900}, 'at most'),
]
IMPORT = """
import json, resource, signal, sys
from maskrep.cli import import_weights
import maskrep.weights.formats.table
import jax
jax.eval_shape(lambda: jax.random.normal(jax.random.key(0), (2,)))
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
signal.alarm(100)
for path in sys.argv[1:]:
  argv = ['', '--format=safetensors', f'--input={path}', f'--output={path}.out', '--allow=.*']
  print(import_weights.main(argv), file=sys.stderr)
"""


def refusal(path, seconds=1.0) -> str:
  started = time.process_time()
  with pytest.raises(ConfigError) as error:
    files.read(path)
  assert time.process_time() - started < 2 * seconds  # as much again for a machine that is busy
  message = str(error.value)
  assert message.startswith(f'{path}: ') and len(message.splitlines()) == 1 and len(message) < 400
  return message


def refused_import(capsys, path, **flags) -> str:
  run(import_weights, 2, input=path, output=path.with_name('out'), **flags)
  error = capsys.readouterr().err
  assert error.count('\n') == 1 and len(error) < 800 and not path.with_name('out').exists(), error
  return error


def write_safetensors_header(path, header: bytes, size: int = 0):
  path.write_bytes(struct.pack('<Q', len(header)) + header)
  if size:
    os.truncate(path, 8 + len(header) + size)


@pytest.mark.parametrize('version', ['2.5.1', '2.6.0', '2.9.1+cu128'])
def test_pytorch_before_2_10_is_refused(version, tmp_path, monkeypatch):
  """CVE-2026-24747: weights_only=True could run code."""
  torch = pytest.importorskip('torch')
  torch.save({'w': torch.zeros(2)}, tmp_path / 'x.pth')
  for accepted in ('2.10.0', '3.0.0a0+git'):
    monkeypatch.setattr(torch, '__version__', accepted)
    files.read(tmp_path / 'x.pth')
  monkeypatch.setattr(torch, '__version__', version)
  monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('the file was loaded'))
  message = refusal(tmp_path / 'x.pth')
  assert version in message and 'CVE-2026-24747' in message and 'torch>=2.10' in message


def test_hostile_descriptions_allocate_nothing(tmp_path):
  """All in one process of 1 GiB, even with --allow for every name."""
  network, paths = functools.cache(lambda kind, **config: pretrained(kind, config)), []
  for i, (kind, config, change, _) in enumerate(DESCRIPTIONS):
    file = native.save(tmp_path / str(i), network(kind, **config))
    description = json.loads(file.with_suffix('.json').read_text())
    description['config'] |= change
    file.with_suffix('.json').write_text(json.dumps(description))
    paths.append(file)
  done = subprocess.run([sys.executable, '-c', IMPORT, *paths], capture_output=True, text=True, timeout=200,
                        cwd=Path(__file__).parents[2])
  lines = done.stderr.splitlines()
  assert done.returncode == 0 and len(lines) == 2 * len(DESCRIPTIONS), done.stderr[-3000:]
  for (_, _, _, expected), message, code in zip(DESCRIPTIONS, lines[::2], lines[1::2], strict=True):
    assert code == '2' and message.startswith('maskrep: --input=') and len(message) < 700, message
    assert expected in message and 'take both from their source again' in message
  assert not list(tmp_path.rglob('*.out'))


@pytest.mark.parametrize('change', [{'preprocessing': plain(IMAGENET) | {'size': 9000}}, {'source': {'changed': 5}},
                                    {'source': {'changed': [5]}}, {'source': {'x': 'a' * MAX_BYTES}}])
def test_the_rest_of_a_description_is_checked(change, tmp_path):
  native.save(tmp_path, pretrained('resnet', TINY_RESNET))
  description = json.loads((tmp_path / 'encoder.json').read_text())
  (tmp_path / 'encoder.json').write_text(json.dumps(description | change))
  with pytest.raises(ConfigError, match='train.init_from=x: encoder.json, which describes ') as error:
    native.load('train.init_from=x', tmp_path)
  assert len(str(error.value)) < 600 and len(str(error.value).splitlines()) == 1


def arrays_of(shapes):
  return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize('allow', ['', '.*'])
def test_inferred_sizes_are_bounded_by_the_file(allow, tmp_path, capsys):
  """A few long arrays imply matrices of 10^12 numbers; long positions imply an attention matrix of that size."""
  state = timm_vit.to_foreign(pretrained('vit', VIT).arrays, VIT)
  path = tmp_path / 'w.safetensors'
  files.write_safetensors(path, state | arrays_of({'patch_embed.proj.weight': (10**6, 3, 1, 1)}), {})
  assert 'too few for such a network' in refused_import(capsys, path, format='timm', heads=1, allow=allow)
  files.write_safetensors(path, state | arrays_of({'pos_embed': (1, 1 + 400**2, 24)}), {})
  assert 'attention between 160000 patches' in refused_import(capsys, path, format='timm', heads=3, allow=allow)
  files.write_safetensors(path, state | arrays_of({'pos_embed': (1, 1 + 600**2, 1)}), {})
  assert 'is for images of 2400 pixels' in refused_import(capsys, path, format='timm', heads=3, allow=allow)
  state = timm_cait.to_foreign(pretrained('cait', CAIT).arrays, CAIT)
  files.write_safetensors(path, state | {f'blocks.{i}.norm1.x': np.zeros(1, np.float32) for i in range(2000)}, {})
  assert 'depth=2000: must be at most 1000' in refused_import(capsys, path, format='timm_cait', heads=3, allow=allow)


def test_levels_that_no_image_has_are_answered_in_one_line(tmp_path, capsys):
  """Each level halves the image: 900 levels of 900 blocks, or 40 levels."""
  torch = pytest.importorskip('torch')
  for levels, blocks, expected in ((900, 900, 'tokenizer has 810900 blocks'), (40, 1, 'multiple of the stride')):
    names = [f'encoder.down.{i}.block.0.conv1.weight' for i in range(levels)]
    state = {'encoder.conv_in.weight': (32, 3, 1, 1), 'quantize.embedding.weight': (4, 4)} | dict.fromkeys(
      [*names, 'decoder.up.0.block.0.x'], (32, 1, 1, 1)) | {
        f'encoder.down.0.block.{i}.y': (1,) for i in range(blocks)} | {f'z{i}': (1,) for i in range(levels)}
    torch.save({name: torch.zeros(shape) for name, shape in state.items()}, tmp_path / 'x.ckpt')
    assert expected in refused_import(capsys, tmp_path / 'x.ckpt', format='taming', allow='.*')


def test_side_files_of_other_libraries_are_bounded(tmp_path, capsys):
  path, side = tmp_path / 'w.safetensors', tmp_path / 'config.json'
  arrays = pretrained('resnet', TINY_RESNET).arrays
  files.write_safetensors(path, torchvision_resnet.to_foreign(arrays, TINY_RESNET), {})
  timm = {'architecture': 'resnet18', 'pretrained_cfg': {
    'input_size': [3, 9000, 9000], 'crop_pct': 0.9, 'interpolation': 'bilinear', 'mean': [0.5] * 3, 'std': [0.5] * 3}}
  side.write_text(json.dumps(timm))
  assert 'preprocessing.size=9000: must be at most 2048' in refused_import(capsys, path, format='torchvision')
  side.write_text(json.dumps(timm | {'architecture': 'a' * 10_000}))
  assert 'has other layers' in refused_import(capsys, path, format='torchvision')
  for content, expected in (('{"x": "' + 'a' * MAX_BYTES + '"}', f'more than {MAX_BYTES} bytes'),
                            ('[' * 200_000, 'recursion'), ('1' * 5000, 'limit')):
    side.write_text(content)
    assert expected in refused_import(capsys, path, format='torchvision')
    assert expected in refused_import(capsys, tmp_path, format='hf_msn')
  with pytest.raises(ConfigError, match='cannot be used .OverflowError'):
    hf_vit_msn._preprocessing('', {'size': 1, 'do_center_crop': True, 'crop_size': 10**400, 'resample': 2,
                                   'image_mean': [0] * 3, 'image_std': [1] * 3})


@pytest.mark.parametrize('suffix', ['.safetensors', '.npz', '.pth', '.msgpack'])
def test_sparse_files_are_refused(suffix, tmp_path):
  pytest.importorskip('torch')
  size = 40 << 30
  for name, header in (('x', json.dumps({'a': {'dtype': 'U8', 'shape': [size], 'data_offsets': [0, size]}}).encode()),
                       ('empty', b'')):
    path = tmp_path / f'{name}{suffix}'
    if header:
      write_safetensors_header(path, header, size)
    else:
      path.touch()
      os.truncate(path, size)
    assert 'is sparse: only 0.0 MB of its 42949.' in refusal(path)


@pytest.mark.parametrize('suffix', ['.npz', '.pth'])
def test_zip_files_that_unpack_to_much_more_are_refused(suffix, tmp_path):
  """The ratio, 76, is one that the limit of earlier versions, 100, let pass."""
  pytest.importorskip('torch')
  path = tmp_path / f'x{suffix}'
  block = np.random.default_rng(0).bytes(1 << 20)
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    archive.writestr('random.npy', block)
    with archive.open('zeros.npy', 'w') as file:
      for _ in range(110):
        file.write(b'\0' * (1 << 20))
  message = refusal(path)
  assert 'would unpack to 116.4 MB, more than 20 times' in message and 'another source' in message


def test_compressed_weights_are_read(tmp_path):
  arrays = {'a': np.random.default_rng(0).normal(size=1000).astype(np.float32), 'new': np.zeros(1 << 20, np.float32)}
  np.savez_compressed(tmp_path / 'x.npz', **arrays)
  assert {name: array.shape for name, array in files.read(tmp_path / 'x.npz').items()} == {
    'a': (1000,), 'new': (1 << 20,)}


def test_an_npz_that_claims_more_than_it_has_is_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / 'x.npz', 'w') as archive, archive.open('x.npy', 'w') as file:
    np.lib.format.write_array_header_1_0(file, {'descr': '<f4', 'fortran_order': False, 'shape': (10**10,)})
  assert "'x.npy' claims 40000.0 MB and has 0.0 MB" in refusal(tmp_path / 'x.npz')


def test_tensors_that_share_their_memory_are_counted_as_often_as_they_are_named(tmp_path):
  torch = pytest.importorskip('torch')
  tensor = torch.zeros(1 << 20)
  torch.save({f'a{i}': tensor.view(-1) for i in range(200)}, tmp_path / 'x.pth')
  assert 'more than 20 times the 4.' in refusal(tmp_path / 'x.pth')


MANY = 300_000


def write_many(path):
  """300,000 arrays."""
  if path.suffix == '.safetensors':
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    write_safetensors_header(path, b'{' + b','.join(entry % i for i in range(MANY)) + b'}')
  elif path.suffix == '.msgpack':
    one = msgpack.ExtType(1, msgpack.packb(((0,), 'float32', b'')))
    path.write_bytes(msgpack.packb({str(i): one for i in range(MANY)}))
  elif path.suffix == '.npz':  # its directory alone
    entry = b'PK\1\2' + bytes(24) + struct.pack('<H', 1) + bytes(16) + b'a'
    end = struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, MANY, MANY, MANY * len(entry), 0)
    end += struct.pack('<4sLQL', b'PK\6\7', 0, MANY * len(entry), 1)
    end += struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(entry * MANY + end)
  else:
    torch = pytest.importorskip('torch')
    tensor = torch.zeros(1)
    torch.save({str(i): tensor.view(1) for i in range(MANY // 5)}, path,
               _use_new_zipfile_serialization=path.suffix == '.pth')


@pytest.mark.parametrize('suffix', ['.safetensors', '.npz', '.msgpack', '.pth', '.ckpt'])
def test_too_many_arrays_are_refused_from_the_header(suffix, tmp_path):
  """A PyTorch file by the bytes that describe its tensors; .ckpt is as PyTorch wrote them before 1.6."""
  path = tmp_path / f'x{suffix}'
  write_many(path)
  message = refusal(path, seconds=2.0 if suffix == '.ckpt' else 1.0)
  assert ('tensors in more than 4.0 MB' if suffix in ('.pth', '.ckpt') else 'more than 100000 arrays') in message


def test_a_directory_that_hides_its_length_is_refused(tmp_path):
  """It says that it has one member, and is as long as that of millions."""
  length = claims.MAX_HEADER + 46
  (tmp_path / 'x.npz').write_bytes(bytes(length) + struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 1, 1, length, 0, 0))
  assert 'a directory of 25.6 MB' in refusal(tmp_path / 'x.npz')


def test_many_unexpected_names_are_compared_in_a_moment():
  state = {f'blocks.{i}.norm.weight': np.zeros(1) for i in range(90_000)}
  started = time.process_time()
  with pytest.raises(ConfigError, match='and 89990 more unexpected'):
    strict.check('x', {f'blocks.{i}.norm1.weight': (1,) for i in range(20)}, state)
  assert time.process_time() - started < 5
