"""The demo with 80 tokens per photo, as a checkpoint on disk."""

import shutil
from urllib.request import Request, urlopen

import pytest

from nutrition_vl.models.checkpoints import DEMO


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    from nutrition_vl.models.load import PixelBudget, load_processor

    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    shutil.copytree(DEMO / "adapter", folder)
    load_processor(folder, PixelBudget(80, 80)).save_pretrained(folder)
    return folder


@pytest.fixture
def bucket(monkeypatch):
    """A real S3 server on loopback with a bucket of four photos, credentials in the environment."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    reset = Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urlopen(reset).close()  # the buckets of earlier servers stay in the process
    settings = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in (settings | keys).items():
        monkeypatch.setenv(name, value)
    kind = pytest.importorskip("s3fs").S3FileSystem
    kind.clear_instance_cache()  # of an earlier server
    system = kind(skip_instance_cache=True)
    system.makedirs("packs", exist_ok=True)
    yield system
    server.stop()
