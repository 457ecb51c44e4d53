"""MSN's linear evaluation on ImageNet-1k: features of unit length, batch 16384 (arXiv:2204.07141, appendix A.3).

SGD with Nesterov momentum, 100 epochs, learning rate 6.4, a cosine schedule without warm-up, no weight decay, crops and
flips. From the authors' code: momentum 0.9; the class token before the final norm, and a layer norm that is trained
before features are scaled to unit length. --config.train.microbatch=1024 gives the same result with
less memory. Not run by us yet.

  maskrep evaluate linear --workdir=DIR --config=linear_msn
"""

from maskrep.configs.base.classify import classify


def get_config():
  config = classify(
    protocol='linear', trained='head', batch_size=16384, epochs=100, learning_rate=0.1, optimizer_kind='nesterov',
    input_norm='layer_l2')
  config.objective.update(pooling='class_token', final_norm=False)
  return config
