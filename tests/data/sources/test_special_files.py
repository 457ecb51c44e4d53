"""Pipes, sockets, devices and links to nothing in a folder of images."""

import logging
import os
import socket

import pytest

from maskrep.data.sources.folder import Folder
from tests.support.pictures import encode, gradient

pytestmark = pytest.mark.quick


def test_what_is_no_file_is_counted_by_kind_in_one_line_and_never_opened(tmp_path, caplog, monkeypatch):
  monkeypatch.chdir(tmp_path)  # the path of a socket is short
  for name in ('a/1.png', 'folder.png/2.png', 'hidden/.3.png'):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(encode(gradient(6, 8), 'PNG'))
  os.symlink(tmp_path / 'a/1.png', 'a/link.png')
  os.mkfifo('a/pipe.png')
  os.mkfifo('a/pipe.txt')
  os.symlink('pipe.png', 'a/link to a pipe.jpg')
  os.symlink('nowhere', 'a/lost.png')
  os.symlink('itself.png', 'a/itself.png')
  os.symlink('/dev/zero', 'zeros.png')
  with socket.socket(socket.AF_UNIX) as server:
    server.bind('socket.gif')
    with caplog.at_level(logging.WARNING):
      source = Folder(str(tmp_path), 'train')
  assert [os.path.relpath(example.name) for example in source] == ['a/1.png', 'a/link.png', 'folder.png/2.png']
  assert [record.message for record in caplog.records] == [
    f'config.data.source=folder:{tmp_path}: 6 entries named as images are not files and are left out: '
    'device (1), link to nothing (2), pipe (2), socket (1)']
  caplog.clear()
  Folder(str(tmp_path / 'folder.png'), 'train')
  assert not caplog.records
