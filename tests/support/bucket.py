"""A bucket on this machine: gcp-storage-emulator, and the generations that it neither compares nor sends."""

from collections.abc import Iterator
import contextlib
import http
import os
from unittest import mock

from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import objects

from tests.support.processes import free_port

NAME = 'runs'


def _checked(handler, name_of):
  """A handler that first compares the generation of the object with the one that is asked for."""
  def handle(request, response, storage, *arguments, **named):
    found = storage.objects.get(request.params['bucket_name'], {}).get(name_of(request))
    generation = found['generation'] if found else '0'
    if request.query.get('ifGenerationMatch', [generation])[0] != generation:
      response.status = http.HTTPStatus.PRECONDITION_FAILED
      response.json({'error': {'code': 412, 'message': 'conditionNotMet'}})
    elif request.query.get('ifGenerationNotMatch', [''])[0] == generation:
      response.status = http.HTTPStatus.NOT_MODIFIED
    else:
      handler(request, response, storage, *arguments, **named)
      if handler in (objects.get, objects.download) and found:
        response['X-Goog-Generation'] = generation
  return handle


def _named(request) -> str:
  return request.params['object_id']


def _inserted(request) -> str:
  return request.query['name'][0] if 'name' in request.query else request.data['meta']['name']


@contextlib.contextmanager
def emulated() -> Iterator[dict[str, str]]:
  """Runs an emulator; yields the environment in which its bucket `NAME` is found."""
  port = free_port()
  checked = {handler: _checked(handler, _inserted if handler is objects.insert else _named)
             for handler in (objects.insert, objects.delete, objects.get, objects.download)}
  changed = mock.patch.object(server, 'HANDLERS', [
    (path, {method: checked.get(handler, handler) for method, handler in handlers.items()})
    for path, handlers in server.HANDLERS])
  found = {'STORAGE_EMULATOR_HOST': f'http://localhost:{port}', 'TENSORSTORE_GCS_HTTP_URL': f'http://localhost:{port}',
           'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'x', 'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
           'GOOGLE_CLOUD_PROJECT': 'test', 'EPATH_USE_TF': 'false'}
  with changed, mock.patch.dict(os.environ, found):
    running = server.create_server('localhost', port, in_memory=True, default_bucket=NAME)
    running.start()
    try:
      yield found
    finally:
      running.stop()
