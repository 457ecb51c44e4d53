"""Weighted k-NN on the data that a run was trained on (Wu et al. 2018, arXiv:1805.01978, section 3.4).

  maskrep evaluate knn --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('knn')
  config.knn = section(neighbours=(10, 20), temperature=0.07)
  return config
