"""Recall@1 of frozen features in the domains of UnED, Ypsilantis et al. 2023, arXiv:2309.01858, that tfds has.

CARS196 and Stanford Online Products have UnED's own test sets. The validation splits of Food-101 and iNaturalist 2018
stand in for Food2K and for UnED's list of iNaturalist classes. In-Shop, Met, Google Landmarks v2 and RP2K are not in
tfds. Each image is a query among all the others of its domain, by cosine similarity. UnED searches all domains at once,
so these figures cannot be compared with the paper's. 'uned' is the mean of the domains. Not run by us yet.

  maskrep evaluate transfer --workdir=runs/msn_vitb16 --config=transfer_uned
"""

from maskrep.configs.evaluation import transfer


def get_config():
  config = transfer.get_config()
  config.transfer.tasks = 'uned_cars', 'uned_products', 'uned_food', 'uned_inaturalist'
  config.data.update(source='task:uned_cars', train_split='index', eval_split='queries')
  return config
