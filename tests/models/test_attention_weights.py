"""Attention weights: Hugging Face's for ViTMSN, and those that the blocks of ViT and CaiT use."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.compiled_for import compiling_for
from maskrep.models.attention_weights import attention_weights, last_attention
from maskrep.weights.formats import hf_vit_msn
from maskrep.weights.pretrained import module, variables
from tests.support.encoders import CAIT, VIT, pretrained

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)  # larger than those of training
PATCHES = 0, 7, 13
IN_MEMORY = {  # names of Hugging Face's files -> of its modules
  'encoder.layer.': 'layers.', 'attention.attention.query': 'attention.q_proj',
  'attention.attention.key': 'attention.k_proj', 'attention.attention.value': 'attention.v_proj',
  'attention.output.dense': 'attention.o_proj', 'intermediate.dense': 'mlp.fc1', 'output.dense': 'mlp.fc2'}


@pytest.mark.slow
@pytest.mark.usefixtures('torchvision')
def test_those_of_hugging_face():
  torch, transformers = (pytest.importorskip(name) for name in ('torch', 'transformers'))
  ours = pretrained('vit', VIT)
  # Larger queries and keys: with small ones all weights are nearly equal.
  ours = dataclasses.replace(ours, arrays={
    name: 5 * value if 'qkv' in name else value for name, value in ours.arrays.items()})
  model = transformers.ViTMSNModel(transformers.ViTMSNConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=12, patch_size=4,
    attn_implementation='eager'))
  state = {name: torch.from_numpy(np.array(value)) for name, value in hf_vit_msn.to_foreign(
    ours.arrays, ours.config).items()}
  for old, new in IN_MEMORY.items():
    state = {name.replace(old, new): value for name, value in state.items()}
  missing, unexpected = model.load_state_dict(state, strict=False)
  assert set(missing) <= {'embeddings.mask_token'} and not unexpected
  with torch.no_grad():
    theirs = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), interpolate_pos_encoding=True,
                          output_attentions=True).attentions
  network = module('vit', VIT)
  for block, wanted in enumerate(theirs):
    found = attention_weights(network, variables(ours.arrays), IMAGES, f'block{block}')
    assert found.shape == (2, 3, 17, 17) and found.std() > 0.01
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(('kind', 'config'), [
  ('vit', VIT), ('vit', VIT | {'class_token': False}), ('cait', CAIT),
  ('cait', CAIT | {'talking_heads': True, 'trunk_scale': 0.5}), ('cait', CAIT | {'instance': 'class_token'}),
  ('cait', CAIT | {'instance': 'average'})], ids=str)
def test_the_weights_give_the_output_of_the_block(kind, config):
  """Values, weighted and projected, are what the module of attention returned."""
  trained = pretrained(kind, config)
  network, arrays = module(kind, config), variables(trained.arrays)
  _, seen = network.apply(arrays, IMAGES, capture_intermediates=True)
  for block in network.block_names:
    parameters, seen_block = arrays['params'][block]['attn'], seen['intermediates'][block]
    x = np.asarray(seen_block['norm1']['__call__'][0])
    wanted = np.concatenate([np.asarray(each) for each in seen_block['attn']['__call__']], axis=1)
    v = x @ parameters['qkv']['kernel'][:, 48:] + parameters['qkv']['bias'][48:]
    found = attention_weights(network, arrays, IMAGES, block)[:, :, :wanted.shape[1]]
    mixed = np.einsum('bhst,bthd->bshd', found, v.reshape(*v.shape[:2], 3, 8)).reshape(wanted.shape)
    mixed = mixed @ parameters['proj']['kernel'] + parameters['proj']['bias']
    np.testing.assert_allclose(mixed, wanted, atol=1e-4 * np.abs(wanted).max())
  last, of_class = last_attention(network, arrays, IMAGES, PATCHES)
  whole = attention_weights(network, arrays, IMAGES, 'block1')
  token = int(whole.shape[-1] == 17)
  np.testing.assert_allclose(last, whole[:, :, jnp.array(PATCHES) + token, token:], atol=1e-5)
  if config.get('instance') == 'class_attention':
    whole, token = attention_weights(network, arrays, IMAGES, 'class_block1'), 1
  assert (of_class is None) == (not token)
  if token:
    np.testing.assert_allclose(of_class, whole[:, :, 0, 1:], atol=1e-5)
  assert last.shape == (2, 3, len(PATCHES), 16)


@pytest.mark.parametrize(('kind', 'config'), [('vit', VIT), ('cait', CAIT)], ids=['vit', 'cait'])
def test_padding_is_not_attended_to(kind, config):
  """On a TPU the blocks see 17 tokens as 24."""
  network, arrays = module(kind, config), variables(pretrained(kind, config).arrays)
  wanted = last_attention(network, arrays, IMAGES, PATCHES)
  with compiling_for('tpu'):
    found = last_attention(network, arrays, IMAGES, PATCHES)
  for ours, right in zip(found, wanted, strict=True):
    assert (ours is None) == (right is None)
    if right is not None:
      np.testing.assert_allclose(ours, right, atol=1e-6)
