"""Semantic segmentation of ADE20K by a linear layer on the patches, at 448 pixels: Chen et al. 2023, section 4.4.

The paper's, as we know it: a linear decoder on patch tokens, 448 pixels, position embeddings upsampled, mean IoU on the
validation split. Our reading, to be checked there: encoder and decoder are trained (--config.objective.trained=head for
the decoder alone), AdamW, the three learning rates, of which the best on the validation split counts, decay, batch,
length, crops and colours, and that at evaluation the whole picture is squashed to one square and the logits are
interpolated to each of its pixels. Not run by us yet.

The data are the ADEChallengeData2016 of the scene parsing benchmark, unpacked; larger pictures are judged reduced to
`data.canvas`. tfds's scene_parse150 holds the maps of the instance benchmark, which are others.

  python -m maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=configs/evaluation/segmentation_ade20k.py
"""

from configs import common


def get_config():
  config = common.segmentation(batch_size=16, epochs=128)
  config.data.update(source='ade20k:ADEChallengeData2016', train_split='training', eval_split='validation', canvas=683,
                     threads=16)
  config.views.update(size=448, crop_scale=(0.25, 1.0), flip=0.5, jitter=0.8)
  config.objective.update(map_classes=150, trained='all')
  config.learning_rates = 3e-5, 1e-4, 3e-4
  config.optim.update(
    learning_rate=1e-4, warmup_epochs=common.epochs_of(config, 1500, 20_210), weight_decay=0.01,
    final_weight_decay=0.01)
  config.train.update(log_every_steps=50, checkpoint_every_steps=2000)
  config.eval.update(every_steps=20_000, batch_size=16, max_train_examples=2000)
  return config
