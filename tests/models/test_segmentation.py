"""UperNet against the heads of transformers and BEiT's pyramid in PyTorch, on random weights; and its dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskrep.models.segmentation import UperNet

WIDTH, CLASSES = 8, 5
UPERNET = UperNet(blocks=(1, 2, 3, 4), channels=6, pool_sizes=(1, 2, 3), auxiliary_channels=4, auxiliary_weight=0.4,
                  dropout=0.5, classes=CLASSES)


@pytest.fixture(scope='module')
def levels():
  """Of 6 x 8 patches: the coarsest level has 3 x 4, and windows of pyramid pooling overlap in it."""
  return np.random.default_rng(0).normal(size=(4, 2, 6, 8, WIDTH)).astype(np.float32)


@pytest.fixture(scope='module')
def theirs(torchvision):
  """Their modules by our names, with random weights and statistics."""
  torch = pytest.importorskip('torch')
  upernet = pytest.importorskip('transformers.models.upernet.modeling_upernet')
  from transformers import ResNetConfig, UperNetConfig

  config = UperNetConfig(
    backbone_config=ResNetConfig(), hidden_size=UPERNET.channels, pool_scales=UPERNET.pool_sizes, num_labels=CLASSES,
    auxiliary_channels=UPERNET.auxiliary_channels)
  torch.manual_seed(0)
  head, auxiliary = upernet.UperNetHead(config, [WIDTH] * 4), upernet.UperNetFCNHead(config, [WIDTH] * 4)
  double = functools.partial(torch.nn.ConvTranspose2d, WIDTH, WIDTH, 2, 2)
  first = torch.nn.Sequential(double(), torch.nn.BatchNorm2d(WIDTH), torch.nn.GELU(), double())
  whole = torch.nn.ModuleDict({'head': head, 'auxiliary': auxiliary, 'first': first, 'second': double()})
  with torch.no_grad():
    for x in [*whole.parameters(), *(each for each in whole.buffers() if each.is_floating_point())]:
      x.copy_(torch.rand(x.shape) + 0.1 if x.ndim == 1 else torch.randn(x.shape) / x[0].numel()**0.5)
  return whole


def modules(theirs):
  """Our name of a module -> theirs."""
  head = theirs['head']
  named = {'pooled': head.bottleneck, 'fusion': head.fpn_bottleneck, 'classifier': head.classifier,
           'auxiliary': theirs['auxiliary'].convs[0], 'auxiliary_classifier': theirs['auxiliary'].classifier}
  named |= {f'pool{size}': block.layers[1] for size, block
            in zip(UPERNET.pool_sizes, head.psp_modules.blocks, strict=True)}
  for i in range(3):
    named |= {f'lateral{i + 1}': head.lateral_convs[i], f'output{i + 1}': head.fpn_convs[i]}
  return named


def variables(theirs):
  """Our parameters and statistics."""
  array = lambda value: jnp.asarray(value.detach().numpy())  # noqa: E731

  def conv(module):
    bias = {} if module.bias is None else {'bias': array(module.bias)}
    return {'kernel': array(module.weight).transpose(2, 3, 1, 0)} | bias

  def doubled(module):  # flax does not turn the kernel round, PyTorch does
    return {'kernel': array(module.weight).transpose(2, 3, 0, 1)[::-1, ::-1], 'bias': array(module.bias)}

  def norm(module):
    return ({'scale': array(module.weight), 'bias': array(module.bias)},
            {'mean': array(module.running_mean), 'var': array(module.running_var)})

  first = theirs['first']
  scale, running = norm(first[1])
  params = {'pyramid': {'up1a': doubled(first[0]), 'norm': scale, 'up1b': doubled(first[3]),
                        'up2': doubled(theirs['second'])}}
  stats = {'pyramid': {'norm': running}}
  for name, module in modules(theirs).items():
    if name.endswith('classifier'):
      params[name] = conv(module)
    else:
      scale, running = norm(module.batch_norm)
      params[name], stats[name] = {'conv': conv(module.conv), 'norm': scale}, {'norm': running}
  return {'params': params, 'batch_stats': stats}


@pytest.mark.parametrize('train', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_upernet_is_that_of_transformers(train, theirs, levels):
  torch = pytest.importorskip('torch')
  ours = variables(theirs)
  maps, moved = jax.jit(lambda v, x: UPERNET.apply(v, list(x), train=train, mutable=['batch_stats']))(ours, levels)

  theirs.train(train)
  first, second, third, fourth = torch.from_numpy(levels.transpose(0, 1, 4, 2, 3).copy())
  with torch.no_grad():
    rescaled = [theirs['first'](first), theirs['second'](second), third, torch.nn.functional.max_pool2d(fourth, 2)]
    assert [tuple(level.shape[2:]) for level in rescaled] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    expected = [theirs[name](rescaled).numpy().transpose(0, 2, 3, 1) for name in ('head', 'auxiliary')]
  assert [x.shape for x in maps] == [(2, 24, 32, CLASSES), (2, 6, 8, CLASSES)]
  for found, wanted in zip(maps, expected, strict=True):
    assert np.std(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, atol=2e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), moved['batch_stats'],
               variables(theirs)['batch_stats'])


@pytest.mark.slow
def test_dropout_takes_whole_channels_of_an_image(levels):
  """Seen through classifiers that only copy."""
  copying = UPERNET.clone(classes=UPERNET.channels, auxiliary_channels=UPERNET.channels)
  random = np.random.default_rng(1)
  variables = jax.tree.map(lambda leaf: random.uniform(-1, 1, leaf.shape).astype(np.float32) + (leaf.ndim == 1),
                           jax.eval_shape(lambda: copying.init(jax.random.key(0), list(levels))))
  for name in ('classifier', 'auxiliary_classifier'):
    variables['params'][name] = {'kernel': jnp.eye(6)[None, None], 'bias': jnp.zeros(6)}
  keys = jax.random.split(jax.random.key(1), 2)
  whole, dropped = jax.jit(lambda: [copying.apply(variables, list(levels), keys=each) for each in (None, keys)])()
  kinds = []
  for before, after in zip(whole, dropped, strict=True):
    share = np.abs(after).sum((1, 2)) / np.maximum(np.abs(before).sum((1, 2)), 1e-9)
    assert np.isclose(share[:, :, None], [0, 2], atol=1e-5).any(-1).all()
    kinds += [tuple(row) for row in (share > 1).tolist()]
  assert len(set(kinds)) == 4, 'each image and each head has its own'
