"""Users of an export read files by the snippet in docs/weights.md: it gives the pixels that training read."""

import json
from pathlib import Path
import re

import numpy as np
from PIL import Image
import pytest

from maskrep.cli import export
from maskrep.data.decode import decode
from maskrep.weights import native
from tests.support.encoders import VIT, pretrained, run
from tests.support.pictures import encode, gradient

PAGE = (Path(__file__).parent.parent.parent / 'docs/weights.md').read_text()
RGB = gradient(20, 30)
RGBA = np.dstack([RGB, np.arange(600).reshape(20, 30) % 256]).astype(np.uint8)  # of every opacity
PALETTE = Image.fromarray(RGB).quantize(16)
EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = {
  'transparent': encode(RGBA, 'PNG'), 'transparent grey': encode(Image.fromarray(RGBA).convert('LA'), 'PNG'),
  'transparent colour of a palette': encode(PALETTE, 'PNG', transparency=3), 'palette': encode(PALETTE, 'PNG'),
  'transparent colour': encode(RGB, 'PNG', transparency=tuple(map(int, RGB[3, 4]))),
  'transparent webp': encode(RGBA, 'WEBP', lossless=True), 'on its side': encode(RGBA, 'PNG', exif=EXIF),
  'opaque': encode(RGB, 'PNG'),
}


@pytest.mark.parametrize('kind', FILES)
def test_the_snippet_reads_what_training_reads(kind, tmp_path):
  block, = (block for block in re.findall(r'```python\n(.*?)```', PAGE, re.S) if 'def on_white' in block)
  names = {}
  exec(block, names)
  (tmp_path / 'file').write_bytes(FILES[kind])
  np.testing.assert_array_equal(names['on_white'](tmp_path / 'file'), decode(FILES[kind], canvas=30))


def test_the_certificate_says_how_files_are_read(tmp_path):
  native.save(tmp_path / 'ours', pretrained('vit', VIT))
  run(export, workdir=tmp_path / 'ours', format='safetensors', output=tmp_path / 'out/w.safetensors')
  certificate = json.loads((tmp_path / 'out/parity.json').read_text())
  heading = re.search('see "(.*)" in docs/weights.md', certificate['files'])[1]
  assert 'transparency laid on white' in certificate['files'] and f'\n## {heading}\n' in PAGE
