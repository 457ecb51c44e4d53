"""Fine-tuning the complete encoder of any run on its own data: AdamW, batch 256, 50 epochs.

Not from a paper. There is no layer-wise decay of the learning rate, because a ResNet does not support it; for
a Transformer, --config.objective.layer_decay=0.75 is MAE's value. For ImageNet: finetune_msn, finetune_extrema.

  maskrep evaluate finetune --workdir=DIR --config=finetune
"""

from maskrep.configs.base.classify import classify, on_own_data


def get_config():
  config = classify(
    protocol='finetune', trained='all', batch_size=256, epochs=50, learning_rate=5e-4, optimizer_kind='adamw',
    warmup_epochs=5.0, weight_decay=0.05)
  config.regularisation.label_smoothing = 0.1
  return on_own_data(config)
