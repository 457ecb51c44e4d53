"""Transfer of frozen features to other data sets, by logistic regression: CIFAR-10 and CIFAR-100.

Other tasks, among them iNaturalist 2018 and Places365, are named in maskrep/data/sources/tasks.py; each needs its data
set prepared for tfds. For example --config.transfer.tasks="('inaturalist2018', 'places365')". The penalties correspond
to scikit-learn's C from 1e4 to 1e-2, for features of unit length. Not run by us yet.

  maskrep evaluate transfer --workdir=runs/msn_vitb16
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('transfer')
  # How images are read. `tasks` selects the images; source and splits are those of the first task.
  config.data.update(source='task:cifar10', train_split='train', eval_split='test')
  config.transfer = section(tasks=('cifar10', 'cifar100'), l2s=tuple(10.0**i for i in range(-4, 3)), folds=5)
  return config
