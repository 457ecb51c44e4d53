"""Fine-tuning of all of any run on its own data: AdamW, batch 256, 50 epochs.

Of no paper. Without layer-wise learning rates, which a ResNet does not have; for a Transformer
--config.objective.layer_decay=0.75 is MAE's. For ImageNet: finetune_msn, finetune_extrema.

  python -m maskrep evaluate finetune --workdir=DIR --config=configs/evaluation/finetune.py
"""

from configs import common


def get_config():
  config = common.classify(
    protocol='finetune', trained='all', batch_size=256, epochs=50, learning_rate=5e-4, optimizer_kind='adamw',
    warmup_epochs=5.0, weight_decay=0.05)
  config.regularisation.label_smoothing = 0.1
  return common.on_own_data(config)
