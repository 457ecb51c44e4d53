"""The certificate of a conversion: compares our network with the other library's own class on fixed images."""

from collections.abc import Callable
import hashlib
import json
from pathlib import Path

import numpy as np

from maskrep.errors import RunError
from maskrep.weights.peers import Peer, PeerMissing
from maskrep.weights.pretrained import Pretrained, plain
from maskrep.workdir.files import write_atomic

SEED, BATCH = 0, 2
FILES = ('upright by EXIF, transparency laid on white; .convert("RGB") alone lays it on black: see "Reading pictures" '
         'in docs/weights.md')
TOLERANCE = 1e-4  # of the largest feature, or of 1 if that is smaller


def certify(pretrained: Pretrained, peer: Callable[[int], Peer], file: Path, sides: tuple[int, ...]) -> None:
  """Writes parity.json beside a file, or into a folder, and prints its status.

  Args:
    pretrained: our network.
    peer: side of square images, in pixels -> the other library's model, with the arrays that were written.
    file: the file or folder that was written.
    sides: sides of the images on which outputs are compared.

  Raises:
    RunError: the outputs differ.
  """
  try:
    certificate = compare(pretrained, peer, sides)
  except PeerMissing as missing:
    certificate = {'verified': False, 'status': f'not verified: {missing}'}
  certificate |= {
    'file': file.name, 'sha256': _sha256(file),
    'inputs': {'seed': SEED, 'distribution': 'standard normal, of NumPy default_rng', 'batch': BATCH},
    'dtype': 'float32', 'preprocessing': plain(pretrained.preprocessing), 'files': FILES,
    'network': {'kind': pretrained.kind} | pretrained.config, 'source': pretrained.source}
  if certificate['status'].startswith('differs'):
    raise RunError(f'{file.name}: {certificate["status"]}; nothing was written')
  if changed := pretrained.source.get('changed'):
    certificate['status'] += f'; not the network of the file, but as changed on import: {", ".join(changed)}'
  path = file / 'parity.json' if file.is_dir() else file.with_name('parity.json')
  write_atomic(path, json.dumps(certificate, indent=1) + '\n')
  print(f'parity.json: {certificate["status"]}')


def compare(pretrained: Pretrained, peer: Callable[[int], Peer], sides: tuple[int, ...]) -> dict:
  """The largest differences at each image size, and whether they are within the tolerance.

  Raises:
    PeerMissing: the other library is not installed, or has no such model.
    RunError: the outputs have other names or shapes.
  """
  differences, peaks = {}, {}
  for side in sides:
    name, theirs = peer(side)
    images = np.random.default_rng(SEED).normal(size=(BATCH, side, side, 3)).astype(np.float32)
    want, got = theirs(images), pretrained.encode(images)
    if {part: value.shape for part, value in got.items()} != {part: value.shape for part, value in want.items()}:
      raise RunError(f'{name} computes other arrays: {", ".join(want)}; nothing was written')
    # NumPy's maximum, unlike Python's, propagates a NaN.
    differences[side] = float(np.max([np.abs(got[part] - want[part]).max() for part in want]))
    peaks[side] = float(np.max([np.abs(value).max() for value in want.values()]))
  same = all(difference < TOLERANCE * max(peaks[side], 1) for side, difference in differences.items())
  summary = ', '.join(f'{difference:.1e} at {side} pixels' for side, difference in differences.items())
  return {'verified': same, 'status': f'{"verified" if same else "differs"}: max |difference| {summary}, with {name}',
          'with': name, 'max_abs_difference': differences, 'max_abs_feature': peaks}


def _sha256(path: Path) -> str:
  """The hash of a file, or for a folder, the hash of the list of all its files and their hashes."""
  if not path.is_dir():
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  files = sorted(each for each in path.rglob('*') if each.is_file())
  listing = ''.join(f'{_sha256(each)}  {each.relative_to(path)}\n' for each in files)
  return hashlib.sha256(listing.encode()).hexdigest()
