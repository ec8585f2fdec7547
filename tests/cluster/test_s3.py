"""A comparison in a bucket of a local S3-compatible server."""

import uuid

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from germline.compare.run import remote_store
from germline.compare.run.remote_store import RemoteStore
from germline.errors import OutputError
from helpers.comparison import comparison, results


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """Name of an empty bucket of a server on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "cache"))
    name = f"parts-{uuid.uuid4().hex}"  # servers of one process share their buckets
    fsspec.filesystem("s3").mkdir(name)
    yield name
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def test_comparison_in_bucket_gives_same_results(bucket, recipe_file, tmp_path, monkeypatch):
    store = f"s3://{bucket}/shared"
    comparison(recipe_file, tmp_path / "one").run()
    work = comparison(recipe_file, tmp_path / "out", store=store)
    work.run()
    assert results(tmp_path / "out") == results(tmp_path / "one")
    assert len(RemoteStore.from_url(store).list_parts()) == 2 + 2 + 4
    # Another machine finds every part.
    remote_store._COMPARED.clear()
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("germline.compare.run.train_cell._train", None)
    comparison(recipe_file, tmp_path / "again", store=store).run()
    assert results(tmp_path / "again") == results(tmp_path / "one")


def test_missing_bucket_is_refused_and_not_made(bucket, recipe_file, tmp_path):
    with pytest.raises(OutputError, match=r"The store 's3://other/shared' cannot be used\. .*bucket"):
        comparison(recipe_file, tmp_path / "out", store="s3://other/shared").check()
    assert bucket in fsspec.filesystem("s3").ls("")
    assert not fsspec.filesystem("s3").exists("other")
    assert not (tmp_path / "out").exists()
