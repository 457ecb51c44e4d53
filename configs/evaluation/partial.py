"""Fine-tuning the last block of any run on its own data: AdamW, batch 256, 50 epochs.

Not from a paper. The same parts are trained as in MAE's partial fine-tuning of one block (arXiv:2111.06377, section
4.3): the last block, the final norm and the classifier. For ImageNet: partial_in1k.

  maskrep evaluate partial --workdir=DIR --config=partial
"""

from maskrep.configs.base.classify import classify, on_own_data


def get_config():
  config = classify(
    protocol='partial', trained='last_block', batch_size=256, epochs=50, learning_rate=1e-3, optimizer_kind='adamw',
    warmup_epochs=5.0, weight_decay=0.05)
  config.regularisation.label_smoothing = 0.1
  return on_own_data(config)
