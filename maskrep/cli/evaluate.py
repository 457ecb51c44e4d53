"""Evaluates a trained or imported encoder by one protocol.

Prints the results and appends them to evaluations.jsonl in its folder, with everything needed to repeat them.
"""

import re

from absl import flags
from ml_collections import config_flags

from maskrep.cli import command
from maskrep.cli.config_file import define_config
from maskrep.cli.help import Page, evaluation_fields
from maskrep.errors import ConfigError
from maskrep.experiment.config_file import EVALUATION

PROTOCOLS = {
  'collapse': 'effective rank and standard deviation of the features, without labels',
  'knn': 'weighted k-NN, for several k',
  'retrieval': 'Recall@1',
  'lowshot': 'logistic regression on a few labels per class, a share of the labels, or lists of images',
  'lowshot_masked': 'the same, fitted to features of masked images',
  'logistic': 'logistic regression on all labels',
  'mask_similarity': "cosine similarity of a masked and the whole image's representation",
  'transfer': 'logistic regression on other data sets, by name',
  'uned': 'Recall@1 in the eight domains of UnED, which share one index',
  'robustness': 'a classifier of ImageNet-1k on ImageNet-A, -R, -Sketch, -V2, -ReaL and -C',
  'linear': 'trains a linear classifier on the frozen encoder',
  'partial': 'trains the last block, the final norm and a classifier',
  'finetune': 'trains the encoder and a classifier',
  'vtab': 'fine-tunes on the 19 tasks of VTAB-1k, with settings chosen on validation images',
  'segmentation': 'trains a linear layer on patch tokens, or UperNet',
}


def define(values: flags.FlagValues, argv: list[str]) -> None:
  define_config(values, argv, 'The evaluation, by default that with the name of the protocol; change a field with '
                '--config.SECTION.FIELD=VALUE.', EVALUATION)
  flags.DEFINE_string('workdir', None, 'A run, or a folder written by maskrep import.', flag_values=values)
  command.define_processes(values)


PAGE = Page(
  usage='maskrep evaluate PROTOCOL --workdir=DIR [--config=NAME|FILE]', doc=__doc__,
  examples=('maskrep evaluate lowshot --workdir=runs/msn_digits',
            'maskrep evaluate knn --workdir=weights/msn_vitb16 --config.data.source=tfds:imagenet2012',
            'maskrep evaluate linear --workdir=runs/msn_vitb16 --config=linear_msn'),
  define=define, choices=PROTOCOLS, fields=evaluation_fields, bucket=True)


def parse(argv: list[str]) -> tuple[str, flags.FlagValues]:
  """Returns the protocol and the flags.

  Raises:
    ConfigError: the protocol, a flag or a field does not exist.
  """
  protocol, argv = command.choose(argv, PAGE)
  if not any(re.match('--?config(=|$)', argument) for argument in argv):
    argv.insert(1, f'--config={protocol}')
  values = command.parse(argv, PAGE, ('workdir',))
  if (other := values.config.get('protocol', protocol)) != protocol:
    raise ConfigError(f'config.protocol={other!r}: is the protocol of this config, and not {protocol}; change either')
  return protocol, values


def evaluate(argv: list[str]) -> None:
  """Runs one protocol, prints its results and appends them to evaluations.jsonl.

  Raises:
    RunError: the encoder or the data does not exist, or does not fit the protocol.
  """
  protocol, values = parse(argv)
  import jax

  from maskrep.devices import distributed
  from maskrep.devices.agreement import check_same
  from maskrep.evaluation.result import render, results_of
  from maskrep.experiment import evaluation, same
  from maskrep.experiment.run import cache_compilations
  from maskrep.workdir.bucket import opened
  from maskrep.workdir.starts import describe_start

  distributed.initialize(values.coordinator, values.num_processes, values.process_id, values.start_timeout_s)
  cache_compilations()
  config, folder = values.config.to_dict(), opened(values.workdir)
  check_same(same.of_config(config, describe_start('')))
  record = evaluation.evaluate(protocol, config, config_flags.get_override_values(values['config']), folder)
  if jax.process_index() == 0:
    print(render(results_of(record)))


def main(argv: list[str]) -> int:
  return command.run_command(evaluate, argv)
