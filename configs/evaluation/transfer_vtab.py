"""VTAB-1k, Zhai et al. 2019, arXiv:1910.04867: 19 tasks of 1000 training examples each, by logistic regression.

The paper fine-tunes; this is a linear probe of frozen features, whose penalty is chosen by 5-fold cross-validation on
the 1000 examples. Figures: each task, the means of the natural, specialized and structured tasks, and the mean of all
19. Two data sets, resisc45 and diabetic_retinopathy_detection, have to be downloaded by hand before tfds prepares them.
maskrep/data/sources/tasks.py describes the splits and labels, and what could not be verified. Not run by us yet.

  maskrep evaluate transfer --workdir=runs/msn_vitb16 --config=transfer_vtab
"""

from maskrep.configs.evaluation import transfer

NATURAL = 'caltech101', 'cifar100', 'dtd', 'flowers102', 'pets', 'svhn', 'sun397'
SPECIALIZED = 'patch_camelyon', 'eurosat', 'resisc45', 'retinopathy'
STRUCTURED = ('clevr_count', 'clevr_distance', 'dmlab', 'kitti', 'dsprites_location', 'dsprites_orientation',
              'smallnorb_azimuth', 'smallnorb_elevation')


def get_config():
  config = transfer.get_config()
  config.transfer.tasks = tuple(f'vtab_{name}' for name in NATURAL + SPECIALIZED + STRUCTURED)
  config.data.update(source=f'task:{config.transfer.tasks[0]}')
  return config
