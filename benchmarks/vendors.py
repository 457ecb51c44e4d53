"""A check without labels: the share of pictures whose nearest picture by another artist shows the same thing.

  python benchmarks/vendors.py --folders google,apple,twitter,facebook [--workdir RUN]

Each folder holds one artist's drawings; drawings of one thing have the same file name. The emoji of four vendors are in
the npm packages emoji-datasource-{google,apple,twitter,facebook}, in img/VENDOR/64 (`npm pack NAME`, then `tar x`).
A picture is compared with all pictures of all other folders, by cosine similarity of features centred on their mean;
pictures whose name is in no other folder are not counted. Prints the share for pixels and, for each run, for the
encoder untrained and trained.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from maskrep import rng
from maskrep.data.datasets import Data, open_source
from maskrep.devices.mesh import make_mesh
from maskrep.evaluation import features
from maskrep.evaluation.encoders import ObjectiveEncoder, TrainedObjective
from maskrep.evaluation.features import EncodeFn
from maskrep.experiment.stored import open_run, restore

BATCH = 256


def share_matched(found: np.ndarray, names: np.ndarray, folders: np.ndarray) -> float:
  """The share of rows whose most similar row of another folder has the same name.

  Args:
    found: features, float32 [M, D].
    names, folders: file name and folder of each row, [M].
  """
  centred = found - found.mean(axis=0)
  centred /= np.linalg.norm(centred, axis=1, keepdims=True)
  right = []
  for folder in np.unique(folders):
    own = folders == folder
    others = centred[~own], names[~own]
    has_match = np.isin(names[own], others[1])
    nearest = np.argmax(centred[own][has_match] @ others[0].T, axis=1)
    right.append(others[1][nearest] == names[own][has_match])
  return float(np.concatenate(right).mean())


def encode(encoder: EncodeFn, weights, folders: list[Path], canvas: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Features, file names and folders of all pictures."""
  mesh = make_mesh()
  encoder, rows, names, owners = features.jit_encoder(encoder, mesh), [], [], []
  for i, folder in enumerate(folders):
    data = Data(source=f'folder:{folder}', train_split='train', eval_split='', download=False, canvas=canvas, threads=2,
                max_broken_fraction=0.0, stall_timeout_s=600)
    source = open_source(data, 'train')
    rows.append(features.extract(encoder, weights, source, data, batch_size=BATCH, mesh=mesh).features)
    if len(rows[-1]) != len(source):
      raise SystemExit(f'{folder}: {len(source) - len(rows[-1])} pictures cannot be read; remove them')
    names += [Path(source.name(j)).name for j in range(len(source))]
    owners += [i] * len(source)
  return np.concatenate(rows), np.array(names), np.array(owners)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--folders', required=True, type=lambda text: [Path(part) for part in text.split(',')])
  parser.add_argument('--workdir', action='append', default=[], type=Path, help='of a run; may be given several times')
  parser.add_argument('--size', type=int, default=64, help='side of the pictures that pixels are compared at')
  args = parser.parse_args()
  share = share_matched(*encode(features.pixels(args.size, args.size), None, args.folders, args.size))
  print(f'pixels ({args.size}): {100 * share:.1f} %')
  for workdir in args.workdir:
    run = open_run(f'--workdir={workdir}', workdir)
    objective, canvas = run.experiment.objective, run.experiment.data.canvas
    trained = TrainedObjective(objective, run.experiment.config, run.experiment.dtype, ())
    encoder = ObjectiveEncoder(trained=trained).function(0.0, whole=False, seed=0)
    untrained = jax.jit(objective.init)(rng.stream(run.experiment.seed, 'init'))
    wanted = {'ema_params': run.params} | ({'model_state': run.model_state} if run.model_state else {})
    state = restore(f'--workdir={workdir}', run, wanted)
    trained = state['ema_params'], state.get('model_state', {})
    for name, weights in (('untrained', untrained), ('trained', trained)):
      print(f'{workdir.name}, {name}: {100 * share_matched(*encode(encoder, weights, args.folders, canvas)):.1f} %')


if __name__ == '__main__':
  main()
