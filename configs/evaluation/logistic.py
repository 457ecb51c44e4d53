"""A linear probe without training: logistic regression on all labels, on the data that a run was trained on.

The penalty is chosen from four by cross-validation on the training split. The loss has one minimum, found in seconds.
The papers' probes, trained by gradient descent on random views, are the protocol `linear`.

  maskrep evaluate logistic --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import logistic


def get_config():
  config = evaluation('logistic')
  config.logistic = logistic()
  return config
