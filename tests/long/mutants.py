"""Puts the field's classic bugs back, one at a time, and sees the tests catch each: python tests/long/mutants.py

Each mutant is a change of text in a copy of the code and the test file that must then fail.
"""

from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

ROOT = Path(__file__).parent.parent.parent

# name: (file, text, its replacement, tests that must fail)
MUTANTS = {
  'padding is attended to': (
    'maskrep/models/attention.py', 'jnp.arange(k.shape[2]) < tokens', 'jnp.arange(k.shape[2]) <= tokens',
    'tests/models/test_platforms.py'),
  'batch norm of a GPU forgets that its mean moves': (
    'maskrep/models/norm.py', 'gradient - to_bias / count - normal', 'gradient - normal',
    'tests/models/test_platforms.py'),
  'one mask for the whole batch': (
    'maskrep/masking/tokens.py', 'return jax.vmap(subset)(keys)',
    'return jax.vmap(subset)(jax.numpy.broadcast_to(keys[:1], keys.shape))', 'tests/masking/test_tokens.py'),
  'the last patch is never seen': (
    'maskrep/masking/tokens.py', 'jax.random.uniform(key, (num_patches,)), keep)',
    'jax.random.uniform(key, (num_patches,)).at[-1].set(-1), keep)', 'tests/masking/test_tokens.py'),
  'float arithmetic drops a patch': (
    'maskrep/masking/tokens.py', 'math.floor(num_patches * (1 - Fraction(str(ratio))))',
    'int(num_patches * (1 - ratio))', 'tests/masking/test_tokens.py'),
  'gradient through the targets': (
    'maskrep/methods/msn.py', 'log_q = jax.lax.stop_gradient(log_q)', 'pass', 'tests/methods/test_msn.py'),
  'masks of an image overlap': (
    'maskrep/masking/tokens.py', 'index.reshape(count, keep)', 'jax.numpy.tile(index[:keep], (count, 1))',
    'tests/masking/test_tokens.py'),
  "gradient through ExtreMA's targets": (
    'maskrep/methods/extrema.py', 'target = jax.lax.stop_gradient(', 'target = (',
    'tests/methods/test_extrema.py'),
  'the student sees the colours of the teacher': (
    'maskrep/methods/extrema.py', 'see(student_keys, student_keys,', 'see(student_keys, teacher_keys,',
    'tests/methods/test_extrema.py'),
  'the MIM stream sees the mixed image': (
    'maskrep/methods/mim.py', "views |= {'image': image,", "views |= {'image': regularised,",
    'tests/methods/test_mim.py'),
  'each stream has a mask of its own': (
    'maskrep/methods/mim.py', "views['supervised_keep'] = keep_idx",
    "views['supervised_keep'] = random_keep(rng.fold(keys, 2), self.grid**2, keep_idx.shape[1])",
    'tests/methods/test_mim.py'),
  'the decoder of fine-tuning is always new': (
    'maskrep/experiment/opened.py', 'carried = objective.carried if isinstance(objective, CarriesOver) else ()',
    'carried = ()', 'tests/experiment/test_stored.py'),
  'a shared view has colours of its own': (
    'maskrep/methods/mscn.py', "'view': first}", "'view': (first[0], second[1])}", 'tests/methods/test_mscn.py'),
  'AugReg enhances downwards too': (
    'maskrep/augment/randaugment.py', '0.1 + 1.8 * level)', '0.1 + 1.8 * draw.sign * level)',
    'tests/augment/test_randaugment.py'),
  'patches come back in the order they were kept': (
    'maskrep/models/decoder.py', 'at.argmax(-1)', 'jnp.cumsum(at.any(-1), axis=-1) - 1',
    'tests/methods/test_mim.py'),
  "MaskGIT's shortcut sees the input": (
    'maskrep/models/vqgan.py', "(x if self.design == 'taming' else y)", '(x)', 'tests/models/test_vqgan.py'),
  'no gradient through the codes': (
    'maskrep/models/vqgan.py', 'return z + jax.lax.stop_gradient(codes - z)', 'return codes',
    'tests/methods/test_vqgan.py'),
  'the tokenizer may change in mid run': (
    'maskrep/experiment/opened.py', "f', tokenizer {digest(frozen)}'", "''", 'tests/experiment/test_stored.py'),
  'a resumed run starts warm again': (
    'maskrep/experiment/opened.py', 'experiment.train.init_from and not resumed', 'experiment.train.init_from',
    'tests/experiment/test_stored.py'),
  'a frozen encoder moves with its decay alone': (
    'maskrep/train/step.py', 'jnp.where(frozen_now, a, b)', 'jnp.where(frozen_now, a * 0.9999, b)',
    'tests/train/test_step.py'),
  'a NaN is certified': (
    'maskrep/weights/parity.py', 'float(np.max([np.abs(got[part] - want[part]).max() for part in want]))',
    'max(0.0, *(float(np.abs(got[part] - want[part]).max()) for part in want))', 'tests/weights/test_parity.py'),
  'an ONNX file takes the number of images that it was traced with': (
    'maskrep/weights/formats/onnx.py', "dynamic_shapes=({0: torch.export.Dim('batch')},), ", '',
    'tests/weights/formats/test_onnx.py'),
  'a warm start compares no heads': (
    'maskrep/experiment/stored.py', '    check_fields(what, part, network, described(module))', '    pass',
    'tests/weights/test_runs.py'),
  'positions of any order are taken for ours': (
    'maskrep/weights/formats/timm_cait.py', 'atol=1e-5)', 'atol=9)', 'tests/weights/formats/test_extrema_layout.py'),
  'a shifted set has all classes': (
    'maskrep/evaluation/protocols/robustness.py', 'np.unique(labels) if subset', 'np.arange(logits.shape[1]) if subset',
    'tests/evaluation/protocols/test_robustness.py'),
  'all corruptions are as hard for AlexNet': (
    'maskrep/evaluation/protocols/robustness.py', '* ALEXNET_ERRORS[name])',
    '* np.mean(list(ALEXNET_ERRORS.values())))', 'tests/evaluation/protocols/test_robustness.py'),
  'a query finds itself': (
    'maskrep/evaluation/metrics/knn.py', 'places = np.arange(size) if', 'places = np.full(size, -1) if',
    'tests/evaluation/metrics/test_knn.py'),
  "gradient through BYOL's targets": (
    'maskrep/methods/mscn.py', 'second = jax.lax.stop_gradient(second)', 'pass', 'tests/methods/test_mscn.py'),
  'evaluation does not filter': (
    'maskrep/models/encoder.py', 'whole or self.squash)\n    return high_pass_images(images, self.high_pass_sigma)',
    'whole or self.squash)\n    return images',
    'tests/methods/test_mscn.py'),
  'the filter of training is not that of evaluation': (
    'maskrep/methods/mscn.py', "read['eval'].crop_fraction, views.high_pass_sigma)", "read['eval'].crop_fraction)",
    'tests/methods/test_mscn.py'),
  'all versions of a view are masked alike': (
    'maskrep/masking/pixels.py', 'mask_image(jax.random.fold_in(key, i), image', 'mask_image(key, image',
    'tests/masking/test_pixels.py'),
  'the map is not flipped with its picture': (
    'maskrep/augment/scenes.py', 'return image, crop.nearest(label_map, box, recipe.size, flip=flip)',
    'return image, crop.nearest(label_map, box, recipe.size, flip=False)', 'tests/methods/test_segment.py'),
  'pixels of no class are judged': (
    'maskrep/evaluation/metrics/segmentation.py',
    'jnp.where(truth == NONE, classes**2, truth.astype(jnp.int32) * classes',
    'jnp.where(False, classes**2, (truth % classes).astype(jnp.int32) * classes',
    'tests/evaluation/metrics/test_segmentation.py'),
  'windows that overlap count twice': (
    'maskrep/evaluation/metrics/windows.py', 'jnp.maximum((inside & counted).sum(0), 1)', 'jnp.ones(len(pixels))',
    'tests/evaluation/metrics/test_windows.py'),
  "SBD's maps replace those of VOC": (
    'maskrep/data/sources/scene_folders.py', 'others -= own | set', 'others -= set',
    'tests/data/test_scene_folders.py'),
  'classes that are nowhere count as missed': (
    'maskrep/evaluation/metrics/segmentation.py', 'out=np.full(len(right), np.nan)', 'out=np.zeros(len(right))',
    'tests/evaluation/metrics/test_segmentation.py'),
  'each picture counts alike, not each pixel': (
    'maskrep/methods/segment.py', 'sums = sums.sum(0)', 'sums = (sums / sums[..., 2:]).sum(0)',
    'tests/methods/test_segment.py'),
  'Sinkhorn ends on the prototypes': (
    'maskrep/methods/losses.py', 'axis=0, keepdims=True)\n    log_q = log_q - jax.nn.logsumexp(log_q, axis=1',
    'axis=1, keepdims=True)\n    log_q = log_q - jax.nn.logsumexp(log_q, axis=0', 'tests/methods/test_losses.py'),
  'the teacher follows the old weights': (
    'maskrep/train/step.py', 'state.ema_params, params)', 'state.ema_params, state.params)',
    'tests/train/test_step.py'),
  'views do not depend on the position': (
    'maskrep/rng.py', 'in_axes=(None, 0))(key, position)', 'in_axes=(None, 0))(key, position % 2)',
    'tests/methods/test_msn.py'),
  'prototypes without gradient': (
    'maskrep/methods/msn.py', "params['prototypes'], self.temperature)",
    "jax.lax.stop_gradient(params['prototypes']), self.temperature)", 'tests/methods/test_msn.py'),
  'prototypes are decayed': (
    'maskrep/methods/msn.py', 'Rule(decay=False, clip=False)', 'Rule(clip=False)', 'tests/methods/test_msn.py'),
  'prototypes are clipped': (
    'maskrep/methods/msn.py', 'Rule(decay=False, clip=False)', 'Rule(decay=False)', 'tests/methods/test_msn.py'),
  'the head normalises masked and focal views together': (
    'maskrep/methods/msn.py', "if self.batch_norm == 'joint':", 'if True:', 'tests/methods/test_msn_anchors.py'),
  'an anchor that shares the crop has its own': (
    'maskrep/augment/views.py', 'return make_view_of(crop_key, colour_key, canvas, size, recipe, blur_key)',
    'return make_view_of(colour_key, colour_key, canvas, size, recipe, blur_key)', 'tests/methods/test_msn_anchors.py'),
  'the learning rate is a step late': (
    'maskrep/train/schedules.py', 'schedule(jnp.asarray(step) + steps)', 'schedule(step)',
    'tests/train/test_first_step.py'),
  "ExtreMA's class token decays": (
    'maskrep/methods/extrema.py', 'Rule(decay=False, encoder=True)', 'Rule(encoder=True)',
    'tests/methods/test_extrema.py'),
  'queries, keys and values are initialised as one matrix': (
    'maskrep/models/cait.py', 'qkv_parts=3', 'qkv_parts=1', 'tests/models/test_initialisers.py'),
  'nobody misses a section that is not read': (
    'maskrep/schema.py', 'if name not in self._fields:', 'if False:', 'tests/test_schema.py'),
  'a range is not looked at': (
    'maskrep/schema.py', "    if problem := _outside(value, annotation):\n      raise", "    if False:\n      raise",
    'tests/test_schema.py'),
  'a part of a damaged checkpoint is taken': (
    'maskrep/workdir/checkpoint.py',
    '(stored.keys() | found.keys() if whole else found.keys())', '(stored.keys() | found.keys() if whole else ())',
    'tests/workdir/test_partial_restore.py'),
  'features of another encoder are taken from the cache': (
    'maskrep/evaluation/encoders.py', "return {'weights': self.digest, 'kind'", "return {'kind'",
    'tests/cli/test_evaluate.py'),
  'the mean over lists lacks one that diverged': (
    'maskrep/experiment/outcomes.py', 'for name, group in values.items() if len(group) == lists]',
    'for name, group in values.items()]', 'tests/experiment/test_probe.py'),
  'a probe of another encoder is taken for this one': (
    'maskrep/experiment/probe.py', 'json.dumps([digest, same]', 'json.dumps([same]',
    'tests/experiment/test_probe.py'),
  'settings are chosen on the test split': (
    'maskrep/experiment/vtab.py', "task.experiment(setting, 'train800', 'val200'), folder",
    "task.experiment(setting, 'train800', 'test'), folder", 'tests/experiment/test_vtab.py'),
  'a neighbour of another domain is right': (
    'maskrep/evaluation/protocols/uned.py', 'there == domain and bool(', 'bool(',
    'tests/evaluation/protocols/test_uned.py'),
  'masked features are those of the whole image': (
    'maskrep/evaluation/encoders.py', 'if keep == patches:', 'if True:',
    'tests/cli/test_evaluate.py'),
  'the penalty is chosen by the examples that it is fitted to': (
    'maskrep/evaluation/metrics/logistic.py', 'np.where(fold == f, labels, -1)', 'np.where(fold == f, -1, labels)',
    'tests/evaluation/metrics/test_logistic.py'),
  'a failed run is reported as a number': (
    'maskrep/sweep/outcome.py', "reason=end['reason'])", "reason=end['reason'], **_measurements(workdir))",
    'tests/sweep/test_table.py'),
  'dropped patches are shown and kept ones grey': (
    'maskrep/show/masks.py', 'np.float32(GREY), images)', 'images, np.float32(GREY))', 'tests/show/test_show.py'),
  'what is frozen moves by its gradient': (
    'maskrep/train/optim.py', 'if s else jnp.zeros_like(update)', 'if s else update', 'tests/train/test_optim.py'),
  'what is frozen has moments': (
    'maskrep/train/optim.py', 'optax.masked(self._optimizer(run_schedules, rules), jax.tree.map(bool, scales))',
    'self._optimizer(run_schedules, rules)', 'tests/train/test_optim.py'),
  'the average of what is frozen drifts': (
    'maskrep/train/step.py', 'b if rule.learning_rate_scale else a', 'b', 'tests/methods/test_classify.py'),
  'a linear probe has a backward pass': (
    'maskrep/methods/classify.py', 'p if rule.learning_rate_scale else jax.lax.stop_gradient(p)', 'p',
    'tests/methods/test_classify.py'),
  'the first layers learn fastest': (
    'maskrep/methods/rules.py', 'layer_decay ** (len(blocks) + 1 - at)', 'layer_decay ** at',
    'tests/methods/test_classify_rules.py'),
  'the warm-up is stretched': (
    'maskrep/train/optim.py', 'self.final_learning_rate, warmup_steps, steps)',
    'self.final_learning_rate, round(self.schedule_stretch * warmup_steps), steps)', 'tests/train/test_optim.py'),
  'an encoder is compiled at each call': (
    'maskrep/api/encoder.py', 'if (size, masked) not in self._compiled:', 'if True:', 'tests/api/test_encoder.py'),
  'nobody is told that training made it worse': (
    'maskrep/evaluation/verdict.py', '  if worse_than:', '  if False:', 'tests/evaluation/test_verdict.py'),
  'a sweep shows a baseline for the trained encoder': (
    'maskrep/sweep/outcome.py', 'final_results(workdir).get(TRAINED, ())',
    "final_results(workdir).get('untrained', ())", 'tests/sweep/test_table.py'),
  'another embedding passes for this one': (
    'maskrep/embedding/embed.py', '{name: found.get(name) for name in made} != made', 'False',
    'tests/embedding/test_embed.py'),
  'few labels are centred on the data, and not on channels': (
    'maskrep/evaluation/metrics/logistic.py', 'features.mean(axis=-1, keepdims=True) if mean is None',
    'features.mean(axis=0) if mean is None', 'tests/evaluation/metrics/test_logistic.py'),
  'padding passes for the patches of a block': (
    'maskrep/models/encoder.py', 'tokens[:, start:start + h * w]', 'tokens[:, -h * w:]',
    'tests/models/test_platforms.py'),
  'class attention is trained where patches are averaged': (
    'maskrep/methods/classify.py', "{name for name in blocks if name.startswith('class_block')} | {'cls'}", 'set()',
    'tests/methods/test_classify_rules.py'),
  'a loop whose condition alone has its length counts once': (
    'maskrep/train/hlo.py', 'bounds[0] if len(bounds) == 1', 'None if len(bounds) == 1',
    'tests/train/test_estimate.py'),
  'a microbatch that fits, and not the largest': (
    'maskrep/experiment/fit.py', 'return sizes[high]', 'return sizes[-1]', 'tests/experiment/test_fit.py'),
  'a flag of a command is not in its help': (
    'maskrep/cli/help.py', 'dict(_flag(values[name]) for name in values)',
    "dict(_flag(values[name]) for name in values if name != 'workdir')", 'tests/cli/test_help.py'),
}


def survives(root: Path, file: str, text: str, replacement: str, tests: str) -> bool:
  """Whether the tests still pass with the bug in."""
  path = root / file
  sound = path.read_text()
  if sound.count(text) != 1:
    sys.exit(f'{file}: {text!r} stands there {sound.count(text)} times, not once; mend tests/long/mutants.py')
  path.write_text(sound.replace(text, replacement))
  try:
    command = [sys.executable, '-m', 'pytest', '-n', '0', '-x', '-q', tests]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
  finally:
    path.write_text(sound)
  if done.returncode not in (0, 1):
    sys.exit(f'pytest could not run:\n{done.stdout}{done.stderr}')
  return done.returncode == 0


def main() -> int:
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder) / 'maskrep'
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns('.git', 'runs', '__pycache__'))
    survivors = []
    for name, mutant in MUTANTS.items():
      alive = survives(root, *mutant)
      print(f'{"SURVIVES" if alive else "caught":<10}{name}', flush=True)
      survivors += [name] * alive
  print(f'{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} caught')
  return bool(survivors)


if __name__ == '__main__':
  sys.exit(main())
