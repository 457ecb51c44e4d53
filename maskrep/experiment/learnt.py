"""Pictures of what an encoder has learned: nearest neighbours, components of its patches, prototypes, kernels."""

from collections.abc import Callable
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from maskrep.data.datasets import UNDESCRIBED, Data, open_source
from maskrep.data.sources.source import Source
from maskrep.data.sources.subset import Subset
from maskrep.devices.mesh import make_mesh
from maskrep.errors import ConfigError, DataError
from maskrep.evaluation.encoders import StoredEncoder, check_encoder, replicate
from maskrep.evaluation.encoding import Encoding
from maskrep.evaluation.evaluator import assigning
from maskrep.evaluation.features import EncodeFn, encoded, jit_encoder, pixels, sample
from maskrep.experiment import stored
from maskrep.experiment.drawing import given
from maskrep.experiment.experiment import Experiment
from maskrep.models.encoder import Preprocessing
from maskrep.schema import build, dtype_of
from maskrep.show import components, kernels, nearest
from maskrep.show.sheet import sheet_png
from maskrep.show.tiles import Tile, tiles_png
from maskrep.types import Network
from maskrep.weights.pretrained import module
from maskrep.workdir.classes import load_classes
from maskrep.workdir.config import holds_run

SEED = 0
BATCH = 64  # images at once, at least
QUERIES, NEIGHBOURS = 6, 8
IMAGES, SIDE = 4, 16  # of the components: how many, and the patches on a side of each, at least
PROTOTYPES, EXAMPLES = 12, 8
KERNELS_A_ROW, KERNEL = 16, 40  # and pixels, at least
SAME, OTHER, QUERY = 'green', 'red', 'blue'  # frames


class Encoded(NamedTuple):
  """Outputs for the M readable images of a source, [M, ...]; their labels, int [M]; and their places in it, int [M]."""

  outputs: np.ndarray
  labels: np.ndarray
  places: np.ndarray


def learnt(subject: str, workdir: Path, paths: list[str] | None) -> tuple[bytes, str]:
  """A PNG, and a line on it.

  Args:
    subject: one of `SUBJECTS`.
    workdir: a run or, for components and kernels, an import.
    paths: image files, for neighbours and components; None draws images of the run's data.

  Raises:
    ConfigError: there is no such run, it cannot show the subject, or images cannot be read.
    CheckpointError: it has no complete checkpoint, or is under way.
  """
  what = f'--workdir={workdir}'
  if paths and subject not in WITH_IMAGES:
    raise ConfigError(f'--images={",".join(paths)}: {subject} are not of images that you name; leave it out')
  return SUBJECTS[subject](what, workdir, paths)


def neighbours(what: str, workdir: Path, paths: list[str] | None) -> tuple[bytes, str]:
  """Queries, and the training images with the nearest representations. Frames are green if the class is the same.

  Queries are of the evaluation split or, if there is none, of the training split.
  """
  encoder, experiment = _opened(what, workdir)
  data = experiment.data
  train = open_source(data, data.train_split)
  own_split = not (paths or data.eval_split)
  queries = given(paths, data.canvas) if paths else _drawn(
    train if own_split else open_source(data, data.eval_split), QUERIES)
  bank = sample(train, experiment.eval.max_train_examples)
  function = encoder.function(0.0, False, SEED)
  known, wanted = (_encoded(function, encoder.weights, each, data) for each in (bank, queries))
  if len(known.places) <= own_split:
    raise ConfigError(f'config.data.source={data.source}: has no image beside the query; give the query by --images')
  places, similarity = nearest.nearest(
    wanted.outputs, known.outputs, min(NEIGHBOURS, len(known.places) - own_split),
    _own(queries, bank, wanted, known) if own_split else None)
  shown = _pixels(encoder, bank, known.places[places].ravel(), data).reshape(*places.shape, *_shape(encoder, data))
  rows = []
  names = load_classes(workdir)
  for i, query in enumerate(_pixels(encoder, queries, wanted.places, data)):
    label = wanted.labels[i]
    rows.append([Tile(query, f'query {_name(label, names)}', QUERY)])
    for j, place in enumerate(places[i]):
      other = known.labels[place]
      frame = 'white' if -1 in (label, other) else SAME if other == label else OTHER
      rows[-1].append(Tile(shown[i, j], f'{similarity[i, j]:.3f} {_name(other, names)}', frame))
  labelled = (wanted.labels[:, None] >= 0) & (known.labels[places] >= 0)
  same = (known.labels[places] == wanted.labels[:, None])[labelled]
  return tiles_png(rows), (f'{same.sum()} of {same.size} neighbours have the class of their query' if same.size else
                           f'the {places.shape[1]} nearest of {len(known.places)} images')


def patch_components(what: str, workdir: Path, paths: list[str] | None) -> tuple[bytes, str]:
  """Images beside the first three principal components of their patches, as colours.

  Images are enlarged until they have 16 x 16 patches or more, as small maps show little.
  """
  encoder, experiment = _opened(what, workdir, needs_run=not paths)
  data = experiment.data if experiment else build(Data, UNDESCRIBED, 'config.data')
  source = given(paths, data.canvas) if paths else _drawn(open_source(data, data.train_split), IMAGES)
  network = module(encoder.pretrained.kind, encoder.pretrained.config, encoder.dtype)
  finer = _finer(encoder, network)

  def patches(weights, batch):
    return network.apply(weights, finer(batch['image'], batch['size']))['patches']

  found = _encoded(patches, encoder.weights, source, data)
  shown, share = components.colours(found.outputs)
  side = math.isqrt(shown.shape[1])
  images = _pixels(encoder, source, found.places, data)
  zoom = -(-images.shape[1] // side)
  maps = shown.reshape(-1, side, side, 3).repeat(zoom, axis=1).repeat(zoom, axis=2)
  return sheet_png({'image': images, 'patches': maps}), (
    f'three components of {side} x {side} patches have {100 * share:.0f} % of the variance')


def prototypes(what: str, workdir: Path, paths: None) -> tuple[bytes, str]:
  """A row per prototype, the most used first: the training images that are likeliest to be assigned to it."""
  run = stored.open_run(what, workdir)
  experiment, objective = run.experiment, assigning(what, run.experiment.objective)
  wanted = {'ema_params': run.params} | ({'model_state': run.model_state} if run.model_state else {})
  state = stored.restore(what, run, wanted)
  preprocessing = experiment.objective.preprocessing

  def assign(weights, batch):
    params, model_state = weights
    return objective.assign(params, model_state, preprocessing(batch['image'], batch['size']))

  data = experiment.data
  bank = sample(open_source(data, data.train_split), experiment.eval.max_train_examples)
  found = _encoded(assign, (state['ema_params'], state.get('model_state', {})), bank, data)
  shares = nearest.use(found.outputs)
  best = np.argsort(-shares, kind='stable')[:min(PROTOTYPES, int((shares > 0).sum()))]
  examples = np.argsort(-found.outputs[:, best], axis=0, kind='stable')[:EXAMPLES].T
  encoder, _ = _opened(what, workdir)
  shown = _pixels(encoder, bank, found.places[examples].ravel(), data)
  names = load_classes(workdir)
  images = iter(shown)
  rows = [[Tile(next(images), (f'{number}: {100 * shares[number]:.1f} %  ' if j == 0 else '') +
                _name(found.labels[place], names)) for j, place in enumerate(row)]
          for number, row in zip(best, examples, strict=True)]
  return tiles_png(rows), (
    f'{(shares > 0).sum()} of {len(shares)} prototypes are the likeliest of some of {len(found.places)} images; '
    f'perplexity {nearest.perplexity(shares):.1f}')


def first_layer(what: str, workdir: Path, paths: None) -> tuple[bytes, str]:
  """The kernels of the first layer."""
  pretrained, _ = stored.pretrained(what, workdir)
  check_encoder(what, pretrained)
  found = kernels.first_kernels(pretrained.arrays)
  tiles = [Tile(each) for each in kernels.pixels(found)]
  rows = [tiles[start:start + KERNELS_A_ROW] for start in range(0, len(tiles), KERNELS_A_ROW)]
  return tiles_png(rows, KERNEL), (f'{len(found)} kernels of {found.shape[1]} x {found.shape[2]} pixels, of which '
                                   f'{kernels.blank(found)} are blank: below a tenth of the largest norm')


SUBJECTS: dict[str, Callable[[str, Path, Any], tuple[bytes, str]]] = {
  'neighbours': neighbours, 'pca': patch_components, 'prototypes': prototypes, 'kernels': first_layer}
WITH_IMAGES = 'neighbours', 'pca'


def _opened(what: str, workdir: Path, needs_run: bool = True) -> tuple[StoredEncoder, Any]:
  """The encoder in a folder, and the experiment of its run; None for an import."""
  pretrained, _ = stored.pretrained(what, workdir)
  check_encoder(what, pretrained)
  experiment = Experiment.parse(pretrained.source['config']) if holds_run(workdir) else None
  if needs_run and not experiment:
    raise ConfigError(f'{what}: holds an import, which has no data of its own; give the workdir of a run, or for pca '
                      '--images')
  encoding = Encoding(network='ema', pooling='', layers=1, size=0, batch_size=_batch_size())
  dtype = experiment.dtype if experiment else dtype_of('auto')
  return StoredEncoder(what=what, pretrained=pretrained, encoding=encoding, dtype=dtype), experiment


def _finer(encoder: StoredEncoder, network: Network) -> Preprocessing:
  """The preprocessing of images of the least multiple of their size that has at least SIDE x SIDE patches."""
  size = encoder.preprocessing.size
  images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  side = math.isqrt(jax.eval_shape(network.apply, encoder.weights, images)['patches'].shape[1])
  return dataclasses.replace(encoder.preprocessing, size=size * -(-SIDE // side))


def _encoded(function: EncodeFn, weights: Any, source: Source, data: Data) -> Encoded:
  """Raises DataError if no image can be read."""
  mesh = make_mesh()
  batches = encoded(jit_encoder(function, mesh), replicate(weights), source, data, batch_size=_batch_size(), mesh=mesh)
  found = Encoded(*map(np.concatenate, zip(*batches, strict=True)))
  if not len(found.places):
    raise DataError(f'{source.fingerprint}: none of its {len(source)} images can be read')
  return found


def _pixels(encoder: StoredEncoder, source: Source, places: np.ndarray, data: Data) -> np.ndarray:
  """Images as the encoder sees them, before they are normalised and filtered: float32 [M, H, W, 3] in [0, 1]."""
  side, *_ = _shape(encoder, data)
  flat = _encoded(pixels(side, data.canvas), {}, Subset(source, places), data).outputs
  return flat.reshape(-1, *_shape(encoder, data))


def _shape(encoder: StoredEncoder, data: Data) -> tuple[int, int, int]:
  side = min(encoder.preprocessing.size, data.canvas)
  return side, side, 3


def _drawn(source: Source, count: int) -> Subset:
  """Some images of a source, whose order may be by class, always the same ones."""
  return Subset(source, np.random.default_rng(SEED).choice(len(source), min(count, len(source)), replace=False))


def _own(queries: Source, bank: Source, wanted: Encoded, known: Encoded) -> np.ndarray:
  """The row of each query in what is known of the bank, or -1."""
  indices = bank.indices if isinstance(bank, Subset) else np.arange(len(bank))
  rows = {int(indices[place]): row for row, place in enumerate(known.places)}
  asked = queries.indices[wanted.places] if isinstance(queries, Subset) else wanted.places
  return np.array([rows.get(int(index), -1) for index in asked])


def _batch_size() -> int:
  devices = jax.device_count()
  return -(-BATCH // devices) * devices


def _name(label: int | np.ndarray, names: list[str] | None) -> str:
  return '' if label < 0 else names[int(label)] if names else str(label)
