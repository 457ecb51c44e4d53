"""The rules by which the parameters of most objectives are trained."""

import jax

from maskrep.types import Params, Rule


def standard_rules(params: Params):
  """A pytree of `Rule`: matrices and position embeddings decay; biases, norms and one-dimensional parameters do not."""

  def rule(path, leaf):
    names = [key.key for key in path]
    return Rule(decay=len(leaf.shape) > 1 and names[-1] not in ('bias', 'scale'), encoder=names[0] == 'encoder')

  return jax.tree_util.tree_map_with_path(rule, params)
