"""Installs maskrep; requirements.txt holds the versions it was tested with."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
  name='maskrep',
  version='0.1.0',
  description='Masked image representation learning in JAX: MSN, ExtreMA, MSCN, supervised + MIM',
  long_description=Path(__file__).with_name('README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=find_packages(include=['maskrep', 'maskrep.*']),
  install_requires=[
    'jax>=0.10',
    'flax>=0.12',
    'optax>=0.2.8',
    'orbax-checkpoint>=0.12.8,<0.13',
    'tensorflow-datasets>=4.9.10',
    'importlib_resources',  # tfds 4.9.10 needs it and does not say so
    'ml-collections>=1.1',
    'clu>=0.0.12',
    'einops',
    'grain>=0.2.18',
    'array_record>=0.8.6',
    'dm-pix>=0.4.5',
    'simplejpeg',
    'pillow>=12',
    'pyarrow>=20',
    'scikit-learn',
    'safetensors',
    'msgpack',
    'matplotlib',
    'tensorboardX',
    'tqdm',
  ],
  extras_require={
    'cuda': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    'test': ['pytest', 'pytest-xdist', 'hypothesis', 'pyyaml', 'ruff', 'torch==2.13.0', 'torchvision==0.28.0',
             'timm==1.0.31', 'transformers'],
    'tensorflow': ['tensorflow>=2.21'],  # reads the StableHLO of weights/formats/savedmodel.py
    'onnx': ['jax2onnx>=0.13', 'onnxruntime>=1.24'],  # 0.17 asks for an older orbax-checkpoint than we do
    'prepare': ['tensorflow'],
  },
)
