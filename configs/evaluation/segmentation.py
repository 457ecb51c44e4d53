"""Semantic segmentation by a linear layer on the patches of a frozen encoder: scenes of the digits inside scikit-learn.

For encoders that were trained on the digits, such as that of configs/msn_digits.py: no download, a minute on two CPU
cores. The figure is the mean IoU of ten digits and the background, on 200 scenes made of digits that are not in the
training split. --config.objective.trained=all trains the encoder too. The evaluation fills in empty fields from the
encoder.

  maskrep evaluate segmentation --workdir=runs/msn_digits
"""

from maskrep.configs.base.segment import segmentation


def get_config():
  config = segmentation(batch_size=32, epochs=20)
  config.data.update(source='digit_scenes', train_split='train', eval_split='test', canvas=32, threads=1)
  # Digits are then as large as in the views that the encoder was trained on.
  config.views.update(size=48, crop_scale=(0.7, 1.0), flip=0.0, jitter=0.0)
  config.objective.map_classes = 11
  config.optim.update(learning_rate=0.1, warmup_epochs=1.0)
  config.train.update(log_every_steps=50, checkpoint_every_steps=200)
  config.eval.update(every_steps=10_000, batch_size=40, max_train_examples=200)
  return config
