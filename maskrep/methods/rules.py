"""The rules by which the parameters of most objectives are trained."""

from collections.abc import Sequence
import dataclasses

import jax

from maskrep.types import Params, Rule


def standard_rules(params: Params):
  """A pytree of `Rule`: matrices and position embeddings decay; biases, norms and one-dimensional parameters do not."""

  def rule(path, leaf):
    names = [key.key for key in path]
    return Rule(decay=len(leaf.shape) > 1 and names[-1] not in ('bias', 'scale'), encoder=names[0] == 'encoder')

  return jax.tree_util.tree_map_with_path(rule, params)


def layer(blocks: Sequence[str], name: str) -> int:
  """The depth of a parameter: 0 is before the L blocks of these names, 1 ... L are they, L + 1 is the final norm."""
  if name == 'norm':
    return len(blocks) + 1
  return blocks.index(name) + 1 if name in blocks else 0


def fine_tuning_rules(rules: dict, blocks: Sequence[str], *, first: int, rate: float, layer_decay: float, unseen: set):
  """The rules of an encoder that is trained further. As in BEiT and MAE, class token and positions do not decay.

  Args:
    rules: the encoder's, of `standard_rules`.
    blocks: names of the L blocks that count as layers.
    first: the first layer that is trained, see `layer`; the ones before it are frozen.
    rate: learning rate of the final norm; that of layer i is `rate * layer_decay ** (L + 1 - i)`.
    unseen: names of parameters that the output does not depend on; they are frozen.
  """
  def of(name, tree):
    at = layer(blocks, name)
    scale = rate * layer_decay ** (len(blocks) + 1 - at) if at >= first and name not in unseen else 0.0
    still = {'decay': False} if name in ('cls', 'pos') else {}
    return jax.tree.map(lambda rule: dataclasses.replace(rule, learning_rate_scale=scale, **still), tree)

  return {name: of(name, tree) for name, tree in rules.items()}
