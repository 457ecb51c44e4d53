"""The config for TensorBoard."""

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from maskrep.train.metrics import MetricWriter, write_config


def events(path):
  """The events of a file: each after its length in 8 bytes and a checksum of 4, and before one of 4."""
  content, found = path.read_bytes(), []
  while content:
    length = int.from_bytes(content[:8], 'little')
    found.append(Event.FromString(content[12:12 + length]))
    content = content[16 + length:]
  return found


def test_config_is_text_and_hyperparameters_beside_the_metrics(tmp_path):
  write_config(tmp_path, {'method': 'msn', 'views': {'mean': (0.5, 0.5)}, 'optim': {'learning_rate': 0.25}})
  MetricWriter(tmp_path, 0).write(1, {'loss': 1.0})
  path, = tmp_path.glob('events.out*.config')
  assert len(list(tmp_path.glob('events.out*'))) == 2
  values = {value.tag: value for event in events(path) for value in event.summary.value}
  assert b'    optim.learning_rate=0.25\n' in values['config/text_summary'].tensor.string_val[0]
  started = values['_hparams_/session_start_info'].metadata.plugin_data.content
  assert b'optim.learning_rate' in started and b'(0.5, 0.5)' in started
