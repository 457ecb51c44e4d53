"""Recall@1: the images of the evaluation split are the queries, those of the training split the index.

On the data that a run was trained on.

  maskrep evaluate retrieval --workdir=DIR
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('retrieval')
  config.retrieval = section()
  return config
