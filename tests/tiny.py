"""Any shipped config, made small enough to train in a test, on the digits."""

import copy

from ml_collections import ConfigDict

from configs import common


def shrink(config: ConfigDict, *, steps: int = 4) -> ConfigDict:
  """The same experiment with a tiny encoder, 8 images a step and `steps` steps."""
  config = copy.deepcopy(config)
  config.batch_size = 8
  config.data.update(source='digits', train_split='train', eval_split='test', canvas=8, threads=1)
  examples = 1438
  if config.method == 'segment':
    examples, config = 1000, segmenting(config, common.vit('Ti', 4), size=16)
    config.data.update(source='digit_scenes', canvas=32)
    config.objective.map_classes = 11
    config.encoder.update(width=16, depth=2, heads=2)
  elif config.method == 'vqgan':
    config.views.size = 16
    config.discriminator.update(width=8, layers=2, groups=4)
  elif config.method == 'mscn':
    config.views.size = 16
    config.first_mask.cell = config.second_mask.cell = 4
    config.encoder.update(depth=18, width=1 / 16, stem='small')
  else:
    patch = config.encoder.patch_size
    config.views.size = 4 * patch
    config.encoder.update(width=16, depth=2, heads=2)
  if config.method == 'msn':
    config.views.update(focal_size=2 * patch, num_focal=min(2, config.views.num_focal))
    config.objective.num_prototypes = 12
  if config.method == 'extrema':
    config.masking.update(ratio=0.75, count=min(3, config.masking.count))
  if config.method == 'mim':
    config.decoder.update(width=16, heads=2)
    config.target.size = 16
    config.regularisation.num_classes = 10
  if 'tokenizer' in config:
    config.tokenizer = common.vqgan_digits()
    config.tokenizer.update(embedding=8, codebook_size=16)
  for head in {'head', 'projector', 'predictor'}.intersection(config.keys()):
    config[head].update(hidden=16, output=8)
  # Fast enough that a few steps move the weights and the teacher by more than round-off.
  config.optim.update(warmup_epochs=2 * 8 / examples, warmup_learning_rate=1e-2, learning_rate=1e-2)
  if config.method != 'mscn' or config.objective.loss_kind == 'byol':
    config.optim.ema_momentum = 0.9
  config.train.update(epochs=steps * 8 / examples, log_every_steps=1, checkpoint_every_steps=2)
  config.eval.update(every_steps=1000, batch_size=8, max_train_examples=64, knn_neighbours=5, labels_per_class=(1,),
                     label_draws=1, baselines=())
  return config


def segmenting(config: ConfigDict, encoder: ConfigDict, *, size: int) -> ConfigDict:
  """A segmentation config with what `maskrep.evaluate` fills in, for an encoder of a ViT that saw such images."""
  filled = {'encoder_kind': 'vit', 'encoder': encoder}
  config = ConfigDict({name: value for name, value in config.items() if name not in ('protocol', 'learning_rates')}
                      | filled)
  config.views.update(size=config.views.size or size, mean=(0.3,) * 3, std=(0.38,) * 3)
  return config
