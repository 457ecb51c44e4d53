"""Semantic segmentation of ADE20K by a linear layer on the patches, at 448 pixels: Chen et al. 2023, section 4.4.

A linear decoder on patch tokens, 448 pixels, bilinear upsampling of position embeddings, seven learning rates with
three seeds each, of which the best mean IoU on the validation split counts. Our reading: encoder and decoder are both
trained (--config.objective.trained=head trains the decoder alone); AdamW; weight decay, batch, length, crops and
colours. At evaluation the full image is squashed to a square and the logits are interpolated to each of its pixels;
this is our reading too. Not run by us yet.

The data are the unpacked ADEChallengeData2016 of the scene parsing benchmark. Images larger than `data.canvas` are
reduced to it before evaluation. tfds's scene_parse150 cannot be used: it holds the maps of the instance benchmark.

  maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=segmentation_ade20k
"""

from maskrep.configs.base.sections import epochs_of
from maskrep.configs.base.segment import segmentation


def get_config():
  config = segmentation(batch_size=16, epochs=128)
  config.data.update(source='ade20k:ADEChallengeData2016', train_split='training', eval_split='validation', canvas=683,
                     threads=16)
  config.views.update(size=448, crop_scale=(0.25, 1.0), flip=0.5, jitter=0.8)
  config.objective.update(map_classes=150, trained='all')
  config.learning_rates = 5e-4, 3e-4, 1e-4, 7e-5, 5e-3, 3e-5, 1e-5
  config.seeds = 0, 1, 2
  config.encoder.resampling = 'bilinear'
  config.optim.update(
    learning_rate=1e-4, warmup_epochs=epochs_of(config, 1500, 20_210), weight_decay=0.01,
    final_weight_decay=0.01)
  config.train.update(log_every_steps=50, checkpoint_every_steps=2000)
  config.eval.update(every_steps=20_000, batch_size=16, max_train_examples=2000)
  return config
