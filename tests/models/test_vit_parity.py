"""The ViT against timm's, Hugging Face's ViTMSNModel and a masked forward in PyTorch, on random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.vit import ViT

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.usefixtures('torchvision')

SMALL = dict(patch_size=8, width=48, depth=2, heads=3, image_size=40)
VIT_S = dict(patch_size=16, width=384, depth=12, heads=6, image_size=224)


def randomise(model):
  generator = torch.Generator().manual_seed(0)
  for p in model.parameters():
    p.data = torch.randn(p.shape, generator=generator) * (2 / sum(p.shape[:2])) ** 0.5 + 1.0 * (p.ndim == 1)
  return model.eval()


def timm_vit(patch_size, width, depth, heads, image_size):
  timm = pytest.importorskip('timm')
  return randomise(
    timm.models.VisionTransformer(
      image_size, patch_size, num_classes=0, global_pool='', embed_dim=width, depth=depth, num_heads=heads
    )
  )


def timm_vit_without_class_token(patch_size, width, depth, heads, image_size):
  timm = pytest.importorskip('timm')
  return randomise(timm.models.VisionTransformer(
    image_size, patch_size, num_classes=0, embed_dim=width, depth=depth, num_heads=heads, class_token=False,
    global_pool='avg', fc_norm=False))


def msn_vit(patch_size, width, depth, heads, image_size):
  transformers = pytest.importorskip('transformers')
  config = transformers.ViTMSNConfig(
    hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width,
    image_size=image_size, patch_size=patch_size,
  )  # fmt: skip
  return randomise(transformers.ViTMSNModel(config))


def from_torch(named, embeddings, norm, blocks, rename):
  """Maps named PyTorch tensors to our tree; `rename` gives the names of a block's layers in the other library."""

  def get(name):
    return jnp.asarray(named[name].detach().numpy())

  def layer_norm(name):
    return {'scale': get(f'{name}.weight'), 'bias': get(f'{name}.bias')}

  def dense(*names):
    kernels = [get(f'{name}.weight').T for name in names]
    return {'kernel': jnp.concatenate(kernels, 1), 'bias': jnp.concatenate([get(f'{name}.bias') for name in names])}

  cls, pos, embed = embeddings
  kernel = get(f'{embed}.weight').transpose(2, 3, 1, 0)
  params = ({'cls': get(cls)} if cls in named else {}) | {
    'pos': get(pos)[0],
    'embed': {'kernel': kernel.reshape(-1, kernel.shape[-1]), 'bias': get(f'{embed}.bias')},
    'norm': layer_norm(norm),
  }
  for i in range(len({name.split('.')[1] for name in named if name.startswith(blocks + '.')})):
    at = f'{blocks}.{i}.'
    params[f'block{i}'] = {
      'norm1': layer_norm(at + rename['norm1']),
      'norm2': layer_norm(at + rename['norm2']),
      'attn': {'qkv': dense(*(at + n for n in rename['qkv'])), 'proj': dense(at + rename['proj'])},
      'mlp': {'fc1': dense(at + 'mlp.fc1'), 'fc2': dense(at + 'mlp.fc2')},
    }
  return {'params': params}


from_timm = functools.partial(
  from_torch,
  embeddings=('cls_token', 'pos_embed', 'patch_embed.proj'),
  norm='norm',
  blocks='blocks',
  rename={'norm1': 'norm1', 'norm2': 'norm2', 'qkv': ['attn.qkv'], 'proj': 'attn.proj'},
)
from_msn = functools.partial(
  from_torch,
  embeddings=('embeddings.cls_token', 'embeddings.position_embeddings', 'embeddings.patch_embeddings.projection'),
  norm='layernorm',
  blocks='layers',
  rename={
    'norm1': 'layernorm_before',
    'norm2': 'layernorm_after',
    'qkv': [f'attention.{x}_proj' for x in 'qkv'],
    'proj': 'attention.o_proj',
  },
)


def timm_forward(model, images, keep_idx=None):
  """timm's own layers on the kept patches of NCHW images; positions resampled as PyTorch does (timm antialiases)."""
  grid = [s // model.patch_embed.patch_size[0] for s in images.shape[2:]]
  cls_pos, pos = model.pos_embed[:, :1], model.pos_embed[:, 1:]
  native = model.patch_embed.grid_size
  pos = pos.reshape(1, *native, -1).permute(0, 3, 1, 2)
  pos = torch.nn.functional.interpolate(pos, size=grid, mode='bicubic', align_corners=False).flatten(2).mT
  x = model.patch_embed.proj(images).flatten(2).mT + pos
  if keep_idx is not None:
    x = torch.take_along_dim(x, keep_idx[..., None], 1)
  x = torch.cat([(model.cls_token + cls_pos).expand(len(x), -1, -1), x], 1)
  return model.norm(model.blocks(x))


def pictures(b, h, w):
  x = np.random.default_rng(0).normal(size=(b, h, w, 3)).astype(np.float32)
  return jnp.asarray(x), torch.from_numpy(x).permute(0, 3, 1, 2)


def tokens(out):
  return np.concatenate([np.asarray(out['cls'])[:, None], np.asarray(out['patches'])], 1)


def largest_difference(got, want):
  return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), got, want)))


@pytest.mark.parametrize('peer', [pytest.param('timm', marks=pytest.mark.slow), 'msn'])
def test_vit_s16_is_the_peers(peer):
  model, convert = {'timm': (timm_vit, from_timm), 'msn': (msn_vit, from_msn)}[peer]
  model = model(**VIT_S)
  params, encode = convert(dict(model.named_parameters())), jax.jit(ViT(**VIT_S).apply)
  for size in (224, 96):
    ours, theirs = pictures(2, size, size)
    with torch.no_grad():
      if peer == 'msn':
        want = model(theirs, interpolate_pos_encoding=True).last_hidden_state
      else:
        want = model(theirs) if size == 224 else timm_forward(model, theirs)
    assert want.std() > 0.5
    difference = largest_difference(tokens(encode(params, ours)), want)
    print(f'ViT-S/16 against {peer} at {size} pixels: largest difference {difference:.1e}')
    assert difference < 1e-4


@pytest.mark.parametrize('masked', [False, True])
def test_outputs_and_gradients_are_pytorchs(masked):
  ours, theirs = pictures(2, 24, 56)
  keep = np.array([[20, 3, 7, 0, 11], [4, 5, 1, 19, 6]]) if masked else None
  model = timm_vit(**SMALL)
  params = from_timm(dict(model.named_parameters()))
  theirs.requires_grad_()
  want = timm_forward(model, theirs, None if keep is None else torch.from_numpy(keep))
  weights = np.random.default_rng(1).normal(size=want.shape).astype(np.float32)
  (want * torch.from_numpy(weights)).sum().backward()

  def loss(params, images):
    out = ViT(**SMALL).apply(params, images, None if keep is None else jnp.asarray(keep))
    return (out['cls'] * weights[:, 0]).sum() + (out['patches'] * weights[:, 1:]).sum(), out

  got, (params_grad, images_grad) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, ours)[::-1]
  assert largest_difference(tokens(got), want.detach()) < 1e-5
  assert largest_difference(images_grad, theirs.grad.permute(0, 2, 3, 1)) < 1e-5
  want_grad = from_timm({name: p.grad for name, p in model.named_parameters()})
  assert largest_difference(params_grad, want_grad) < 1e-4


@pytest.mark.parametrize('masked', [False, True])
def test_without_a_class_token_it_is_timms_with_average_pooling(masked):
  """Features, average and gradients; of some patches alone, through timm's own blocks."""
  model = timm_vit_without_class_token(**SMALL)
  params = from_timm(dict(model.named_parameters()))
  ours, theirs = pictures(2, 40, 40)
  keep = np.array([[20, 3, 7, 0, 11], [4, 5, 1, 19, 24]]) if masked else None
  x = model.patch_embed(theirs) + model.pos_embed
  if masked:
    x = torch.take_along_dim(x, torch.from_numpy(keep)[..., None], 1)
  patches = model.norm(model.blocks(x))
  average = patches.mean(1) if masked else model(theirs)
  (average**3).sum().backward()

  def loss(params):
    out = ViT(**SMALL, class_token=False).apply(params, ours, None if keep is None else jnp.asarray(keep))
    return (out['cls'] ** 3).sum(), out

  got, gradient = jax.jit(jax.grad(loss, has_aux=True))(params)[::-1]
  assert got['patches'].shape == (2, 5 if masked else 25, 48) and 'cls' not in params['params']
  assert largest_difference(got['cls'], average.detach()) < 1e-5
  assert largest_difference(got['patches'], patches.detach()) < 1e-5
  assert largest_difference(gradient, from_timm({name: p.grad for name, p in model.named_parameters()})) < 1e-3
