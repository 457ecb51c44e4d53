"""Recall@1 of the evaluation split, as queries, in the training split, as index, of the data that a run was trained on.

  python -m maskrep evaluate retrieval --workdir=DIR
"""

from configs import common


def get_config():
  config = common.evaluation('retrieval')
  config.retrieval = common.section()
  return config
