"""ExtreMA's linear evaluation on ImageNet-1k: LARS, batch 4096, 90 epochs (arXiv:2206.04667, table 14).

Base learning rate 0.1 for 256 images, momentum 0.9, a warm-up of 10 epochs, no weight decay, crops. From the authors'
code: flips, the class token before the final norm, and batch norm without scale and bias before the classifier. Not
run by us yet.

  maskrep evaluate linear --workdir=DIR --config=linear_extrema
"""

from maskrep.configs.base.classify import classify


def get_config():
  config = classify(
    protocol='linear', trained='head', batch_size=4096, epochs=90, learning_rate=0.1, optimizer_kind='lars',
    warmup_epochs=10.0, input_norm='batch')
  config.objective.update(pooling='class_token', final_norm=False)
  return config
