"""SavedModels: reloaded in a process that knows neither maskrep nor jax, they give what the encoder gives."""

import json
import subprocess
import sys

import numpy as np
import pytest

from maskrep.errors import ConfigError
from maskrep.weights.formats import savedmodel
from tests.support.encoders import CAIT, RESNET, VIT, pretrained

SIZE = 24  # not that of the positions, which are resampled
ENCODERS = {'vit': ('vit', VIT), 'cait': ('cait', CAIT), 'resnet': ('resnet', RESNET | {'width': 1 / 16})}
RELOAD = """
import json, sys

class NotInstalled:  # TensorFlow imports jax where it can
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('maskrep', 'jax', 'jaxlib', 'flax'):
      raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import numpy as np
import tensorflow as tf

folder, inputs, outputs = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures['serving_default']
made = {}
for name, images in np.load(inputs).items():
  made |= {f'{name}.{key}': value.numpy() for key, value in serve(images=tf.constant(images)).items()}
np.savez(outputs, **made)
print(json.dumps({
  'modules': sorted({name.split('.')[0] for name in sys.modules}),
  'signature': {key: [spec.shape.as_list(), spec.dtype.name]
                for key, spec in serve.structured_input_signature[1].items()},
}))
"""


@pytest.mark.parametrize('name', ENCODERS)
def test_reloads_without_maskrep_or_jax(name, tmp_path):
  pytest.importorskip('tensorflow')
  ours = pretrained(*ENCODERS[name])
  savedmodel.export(ours, SIZE, tmp_path / 'model')
  rng = np.random.default_rng(0)
  images = {f'batch{b}': rng.normal(size=(b, SIZE, SIZE, 3)).astype(np.float32) for b in (1, 3, 7)}
  np.savez(tmp_path / 'in.npz', **images)
  # -I: neither the folder of the tests nor PYTHONPATH can be imported from.
  done = subprocess.run([sys.executable, '-I', '-c', RELOAD, *(tmp_path / n for n in ('model', 'in.npz', 'out.npz'))],
                        capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  seen = json.loads(done.stdout.splitlines()[-1])
  assert not {'maskrep', 'jax', 'jaxlib', 'flax'} & set(seen['modules'])
  assert seen['signature'] == {'images': [[None, SIZE, SIZE, 3], 'float32']}
  made, apart = np.load(tmp_path / 'out.npz'), {}
  for batch, x in images.items():
    for key, want in ours.encode(x).items():
      assert made[f'{batch}.{key}'].shape == want.shape and np.std(want) > 0.01
      apart[f'{batch}.{key}'] = np.abs(made[f'{batch}.{key}'] - want).max()
  print(f'{name}: {apart}')
  assert len(made.files) == len(apart) and max(apart.values()) < 1e-4


def test_weights_are_variables(tmp_path):
  pytest.importorskip('tensorflow')
  ours = pretrained('vit', VIT | {'width': 96})
  savedmodel.export(ours, SIZE, tmp_path / 'model')
  graph = (tmp_path / 'model' / 'saved_model.pb').read_bytes()
  stored = sum(array.nbytes for array in ours.arrays.values())
  assert len(graph) < stored / 2
  assert sum(path.stat().st_size for path in (tmp_path / 'model' / 'variables').iterdir()) > stored
  assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_without_tensorflow_the_error_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  with pytest.raises(ConfigError, match=r"pip install -e '\.\[tensorflow\]'") as error:
    savedmodel.export(pretrained('vit', VIT), SIZE, tmp_path / 'model')
  assert len(str(error.value).splitlines()) == 1 and not list(tmp_path.iterdir())
