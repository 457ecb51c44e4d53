"""An encoder as an ONNX file: timm's or torchvision's class with our arrays, exported by PyTorch.

The same classes certify the array formats. ONNX Runtime runs each file, and its outputs are compared with those of our
encoder, see `peer`.
"""

from pathlib import Path
import warnings

from maskrep.errors import ConfigError
from maskrep.weights import peers
from maskrep.weights.formats import timm_cait, timm_vit, torchvision_resnet
from maskrep.weights.pretrained import Pretrained
from maskrep.workdir.files import write_atomic

CLASSES = {'vit': timm_vit, 'cait': timm_cait, 'resnet': torchvision_resnet}
KINDS = tuple(CLASSES)
SUFFIXES = ('.onnx',)
OPSET = 18  # the oldest to which PyTorch translates without converting from another; of 2022
MOST = 2_000_000_000  # bytes: one Protocol Buffers message holds at most 2 GiB
LIBRARIES = 'torch', 'torchvision', 'timm', 'onnx', 'onnxscript', 'onnxruntime'


def export(pretrained: Pretrained, size: int, path: Path) -> Path:
  """Writes an ONNX file for any batch size; returns its path.

  Its input is float32 `images` [B, size, size, 3], its outputs are `cls` and `patches` as in `Pretrained.encode`.

  Raises:
    ConfigError: a library of the extra `onnx` is not installed, the encoder has no such class, or it is too large.
  """
  _check_libraries(path)
  if (stored := sum(array.nbytes for array in pretrained.arrays.values())) > MOST:
    raise ConfigError(f'{path}: an ONNX file holds at most 2 GB, and this encoder has {stored / 1e9:.1f}; choose '
                      '--format=saved_model')
  form = CLASSES[pretrained.kind]
  model = form.model(form.to_foreign(pretrained.arrays, pretrained.config), pretrained.config, size)
  torch = peers.library('torch', 'onnx')
  with warnings.catch_warnings(action='ignore', category=FutureWarning):  # of PyTorch about its own code
    # Two images: PyTorch treats a length of 1 as a constant.
    program = torch.onnx.export(
      _with_our_axes(model), (torch.zeros(2, size, size, 3),), dynamo=True, opset_version=OPSET, verbose=False,
      dynamic_shapes=({0: torch.export.Dim('batch')},), input_names=['images'], output_names=['cls', 'patches'])
  for node in program.model.graph.all_nodes():
    node.metadata_props.clear()  # the stack trace of each, with the paths of this machine
  write_atomic(path, program.model_proto.SerializeToString())
  return path


def peer(path: Path) -> peers.Peer:
  """The file, run by ONNX Runtime."""
  runtime = peers.library('onnxruntime', 'onnx')
  session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
  names = [output.name for output in session.get_outputs()]
  return (f'ONNX Runtime {runtime.__version__}',
          lambda images: dict(zip(names, session.run(names, {'images': images}), strict=True)))


def _check_libraries(path):
  try:
    for name in LIBRARIES:
      peers.library(name, 'onnx')
  except peers.PeerMissing as missing:
    raise ConfigError(f'{path}: an ONNX file is written with {", ".join(LIBRARIES)}; {missing}') from missing


def _with_our_axes(model: peers.TorchModel):
  """A module from images [B, H, W, 3] to the class features and the patch features."""
  nn = peers.library('torch', 'onnx').nn

  class Encoder(nn.Module):

    def __init__(self):
      super().__init__()
      self.layers = model.layers

    def forward(self, images):
      parts = model.split(self.layers(images.permute(0, 3, 1, 2)))
      return parts['cls'], parts['patches']

  return Encoder().eval()
