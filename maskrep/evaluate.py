"""Judges a trained or imported encoder on other data: python -m maskrep.evaluate --workdir=DIR --config=FILE

Of the config the sections data and eval count: k-NN, Recall@1 and few-label accuracy on its splits. Images are prepared
as the encoder's source says.
"""

import sys

from absl import flags
import jax
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import config_flags

from maskrep import build, command, weights
from maskrep import plan as planning
from maskrep.augment.highpass import high_pass_images
from maskrep.build import Data
from maskrep.errors import ConfigError
from maskrep.evaluation import features, table
from maskrep.evaluation.logistic import TooFewLabels
from maskrep.evaluation.protocol import Eval
from maskrep.interop.pretrained import Pretrained, forward, variables
from maskrep.mesh import make_mesh

EXAMPLE = 'python -m maskrep.evaluate --workdir=weights/vit-msn-small --config=configs/msn_vits16.py'


def parse(argv: list[str]) -> flags.FlagValues:
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, 'Whose data and eval sections to use; change a field with '
                                  '--config.SECTION.FIELD=VALUE.', flag_values=values, sys_argv=argv)
  flags.DEFINE_string('workdir', None, 'A run, or a folder that maskrep.import_weights wrote.', flag_values=values)
  return command.parse(argv, values, ('workdir', 'config'), EXAMPLE)


def evaluate(argv: list[str]) -> None:
  """Prints the table that ends a run, of this encoder.

  Raises:
    RunError: there is no such encoder, nothing says how its images are prepared, or the data cannot be judged.
  """
  values = parse(argv)
  planning.check(values.config)
  planning.check_devices(values.config)
  data, options = build.section(Data, values.config.data, 'data'), build.section(Eval, values.config.eval, 'eval')
  pretrained, _ = weights.pretrained(f'--workdir={values.workdir}', values.workdir)
  encoder = _encoder(values.workdir, pretrained)
  train = build.build_source(data, data.train_split)
  if not data.eval_split or not train.num_classes:
    raise ConfigError(f'config.data.eval_split={data.eval_split!r} of {data.source} with {train.num_classes} classes: '
                      'an encoder is judged on a split with labels; name one')
  test = build.build_source(data, data.eval_split)
  bank, mesh = features.sample(train, options.max_train_examples), make_mesh()
  if options.knn_neighbours > len(bank):
    raise ConfigError(f'config.eval.knn_neighbours={options.knn_neighbours}: must be at most the {len(bank)} examples')
  arrays = jax.device_put(variables(pretrained.arrays), NamedSharding(mesh, PartitionSpec()))
  encoder = features.jit_encoder(encoder, mesh)
  found = [features.extract(encoder, arrays, source, mesh=mesh, batch_size=options.batch_size, canvas=data.canvas,
                            threads=data.threads, stall_timeout_s=data.stall_timeout_s) for source in (bank, test)]
  try:
    print(table.render([table.row(pretrained.kind, *found, num_classes=train.num_classes, options=options)]))
  except TooFewLabels as error:
    raise ConfigError(f'config.eval.labels_per_class={options.labels_per_class}: {error}; ask for fewer') from error


def _encoder(workdir: str, pretrained: Pretrained) -> features.Encoder:
  """(variables, canvases, sizes) -> class tokens.

  Raises:
    ConfigError: it is no encoder, or its images cannot be prepared.
  """
  if pretrained.kind == 'vqgan':
    raise ConfigError(f'--workdir={workdir}: is a tokenizer, and encoders are judged')
  how = pretrained.preprocessing
  if how is None:
    raise ConfigError(f'--workdir={workdir}: its encoder.json does not say how images are prepared; write '
                      '"preprocessing" into it: size, crop_fraction, filter, mean and std')
  if how['filter'] != 'bilinear':
    raise ConfigError(f'--workdir={workdir}: its images are resized with the filter {how["filter"]!r}, and here it is '
                      'bilinear; where that is near enough, say so in its encoder.json')
  apply, sigma = forward(pretrained.kind, pretrained.config), how.get('high_pass_sigma', 0)

  def encode(arrays, images):
    return apply(arrays, high_pass_images(images, sigma))

  view = features.class_token(encode, size=how['size'],
                              crop_fraction=how['crop_fraction'], mean=tuple(how['mean']), std=tuple(how['std']),
                              squash=how.get('squash', False))
  return lambda arrays, canvases, sizes: view((arrays,), canvases, sizes)


def main(argv: list[str]) -> int:
  return command.answer(evaluate, argv)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
