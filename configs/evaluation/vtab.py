"""VTAB-1k by fine-tuning (arXiv:1910.04867), as Supervised + MIM does (Chen et al. 2023, supplement, section A).

All 19 tasks at 384 pixels; four learning rates with two schedules (500 steps with 100 of warm-up, 2500 with 200). For
each task the best of these eight on the 200 validation images, trained on the other 800, trains again on all 1000
images and is tested. Figures: top-1 accuracy of each task, the means of the natural, specialized and structured tasks,
and that of all 19.

Patches of 14 pixels do not divide 384. The authors' network is a convolution that leaves out what does not fill
a patch, and so sees 27 x 27 patches; images are therefore resized to 378 pixels, of which all are seen by the same 27 x
27 patches. In general the size is the largest up to `views.size` that consists of complete patches.

The paper names neither the optimiser nor the batch nor the views. Our reading is AugReg's transfer (arXiv:2106.10270),
to which it refers: SGD with momentum 0.9, batch 512, no weight decay, gradients clipped to norm 1, and bilinear
positions. The complete image is squashed to a square, without crops and flips, which would change labels that are
places, angles or distances. Two data sets, resisc45 and diabetic_retinopathy_detection, have to be downloaded by hand
before tfds prepares them. Not run by us yet.

  maskrep evaluate vtab --workdir=runs/mim_vitb14
"""

from maskrep.configs.base.classify import classify
from maskrep.configs.base.sections import section

NATURAL = 'caltech101', 'cifar100', 'dtd', 'flowers102', 'pets', 'sun397', 'svhn'
SPECIALIZED = 'patch_camelyon', 'eurosat', 'resisc45', 'retinopathy'
STRUCTURED = ('clevr_count', 'clevr_distance', 'dmlab', 'dsprites_location', 'dsprites_orientation', 'kitti',
              'smallnorb_azimuth', 'smallnorb_elevation')


def get_config():
  config = classify(
    protocol='vtab', trained='all', batch_size=512, epochs=1, learning_rate=0.01, optimizer_kind='sgd')
  del config.learning_rates, config.seeds, config.lists
  # `tasks` selects the images; source and splits are those of the first task.
  tasks = tuple(f'vtab_{name}' for name in NATURAL + SPECIALIZED + STRUCTURED)
  config.vtab = section(
    tasks=tasks, learning_rates=(1e-3, 3e-3, 1e-2, 3e-2), steps=(500, 2500), warmup_steps=(100, 200))
  config.data.update(source=f'task:{tasks[0]}', train_split='train', eval_split='test')
  config.views.update(size=384, flip=0.0, squash=True)
  config.encoder = section(drop_path=0.0, remat=False, scan=False, resampling='bilinear')
  config.optim.clip_norm = 1.0
  config.train.update(checkpoint_every_steps=500, keep_checkpoints=1)
  config.eval.update(every_steps=100_000, protocols=())
  return config
