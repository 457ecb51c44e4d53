"""Linear probing of any run on its own data: SGD with Nesterov momentum, batch 256, 100 epochs.

Of no paper: batch norm before the classifier, as in MAE (arXiv:2111.06377, appendix A.1), makes one learning rate do
for encoders of any scale. Views are crops of at least 70 %, not flipped, for the data may be digits. On digits it takes
minutes on two CPU cores.

  python -m maskrep evaluate linear --workdir=DIR --config=configs/evaluation/linear.py
"""

from configs import common


def get_config():
  config = common.classify(
    protocol='linear', trained='head', batch_size=256, epochs=100, learning_rate=0.1, optimizer_kind='nesterov',
    input_norm='batch')
  return common.on_own_data(config)
