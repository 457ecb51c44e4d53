"""Linear probing of any run on its own data: SGD with Nesterov momentum, batch 256, 100 epochs.

Not from a paper. Batch norm before the classifier, as in MAE (arXiv:2111.06377, appendix A.1), lets one learning rate
serve encoders whose features differ in scale. Views are crops of at least 70 %, not flipped, because the data may be
digits. On digits it takes minutes on two CPU cores.

  maskrep evaluate linear --workdir=DIR --config=linear
"""

from maskrep.configs.base.classify import classify, on_own_data


def get_config():
  config = classify(
    protocol='linear', trained='head', batch_size=256, epochs=100, learning_rate=0.1, optimizer_kind='nesterov',
    input_norm='batch')
  return on_own_data(config)
