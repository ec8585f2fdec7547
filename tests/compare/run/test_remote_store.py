"""A store behind a URL: the same results as in a folder, complete parts or none, and clear messages."""

import json
import uuid
from multiprocessing.pool import ThreadPool

import fsspec
import pytest
from typer.testing import CliRunner

from germline.cli import app
from germline.compare.run import remote_store
from germline.compare.run.cells import Cell
from germline.compare.run.remote_store import RemoteStore
from germline.compare.run.train_cell import cell_path
from germline.errors import ArtefactError, OutputError, SettingError
from helpers.comparison import comparison, list_stored, results


@pytest.fixture
def url():
    """URL of an empty store in memory."""
    return f"memory://{uuid.uuid4().hex}/parts"


@pytest.fixture(params=["memory", "file"])
def any_url(request, url, tmp_path):
    return url if request.param == "memory" else f"file://{tmp_path / 'remote'}"


@pytest.fixture
def make_part(tmp_path):
    """Function that makes a part of two files in the local folder of a machine."""

    def make(machine, texts=("one", "two")):
        part = tmp_path / machine / "gene-1"
        (part / "inner").mkdir(parents=True)
        (part / "inner" / "a.txt").write_text(texts[0])
        (part / "b.txt").write_text(texts[1])
        return part

    return make


def forget_published_parts():
    """Forget the published parts that this process knows, so that it acts as a new process."""
    remote_store._COMPARED.clear()


def read_all(part):
    return {str(path.relative_to(part)): path.read_text() for path in part.rglob("*") if path.is_file()}


def test_published_folder_reaches_another_machine(any_url, make_part, tmp_path):
    part, other = make_part("first"), tmp_path / "second" / "gene-1"
    first, second = (RemoteStore.from_url(any_url, tmp_path / name) for name in ("first", "second"))
    first.check_access()
    assert not second.fetch(other)
    assert not second.has_part("gene-1")
    first.publish(part)
    forget_published_parts()
    assert second.fetch(other)
    assert read_all(other) == {"inner/a.txt": "one", "b.txt": "two"}
    assert second.has_part("gene-1")
    assert second.list_parts() == {"gene-1"}


def test_upload_without_manifest_is_no_part(any_url, make_part, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    store = RemoteStore.from_url(any_url, tmp_path / "first")
    part = make_part("first")
    with monkeypatch.context() as patch:
        patch.setattr(remote_store, "_write_whole", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.publish(part)
    assert not store.has_part("gene-1")
    assert store.list_parts() == set()
    assert not store.fetch(tmp_path / "second" / "gene-1")
    store.publish(part)
    forget_published_parts()
    assert store.fetch(tmp_path / "second" / "gene-1")


def test_two_workers_that_make_the_same_part_publish_one_complete_part(any_url, make_part, tmp_path, monkeypatch):
    # Both workers look for the manifest before either of them writes it.
    parts = {name: make_part(name) for name in ("first", "second")}
    monkeypatch.setattr(RemoteStore, "_read_manifest", lambda store, name: None)
    with monkeypatch.context() as patch, ThreadPool(2) as pool:
        patch.setattr(remote_store, "_COMPARED", ForgetfulSet())
        pool.map(lambda name: RemoteStore.from_url(any_url, tmp_path / name).publish(parts[name]), parts)
    monkeypatch.undo()
    reader = RemoteStore.from_url(any_url, tmp_path / "third")
    assert reader.list_parts() == {"gene-1"}
    assert reader.fetch(tmp_path / "third" / "gene-1")
    assert read_all(tmp_path / "third" / "gene-1") == read_all(parts["first"])
    system, root = fsspec.core.url_to_fs(any_url)
    assert len(system.ls(f"{root}/files/gene-1")) == 2
    assert len(system.ls(f"{root}/manifests")) == 1


class ForgetfulSet(set):
    def __contains__(self, key):
        return False


def test_unfinished_local_part_is_replaced(url, make_part, tmp_path):
    RemoteStore.from_url(url, tmp_path / "first").publish(make_part("first"))
    forget_published_parts()
    unfinished = tmp_path / "second" / "gene-1"
    (unfinished / "checkpoints").mkdir(parents=True)
    (unfinished / "checkpoints" / "1").write_text("half")
    assert RemoteStore.from_url(url, tmp_path / "second").fetch(unfinished)
    assert read_all(unfinished) == {"inner/a.txt": "one", "b.txt": "two"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda system, root: system.pipe_file(f"{root}/manifests/gene-1.json", b'{"files"'), "manifest is incomplete"),
        (lambda system, root: system.rm(f"{root}/files", recursive=True), "file b.txt is missing"),
        (lambda system, root: change_file(system, root), "another hash"),
        (lambda system, root: point_outside(system, root), "manifest is incomplete"),
    ],
)
def test_damaged_part_is_refused(url, make_part, tmp_path, damage, message):
    store = RemoteStore.from_url(url, tmp_path / "second")
    store.publish(make_part("first"))
    forget_published_parts()
    damage(*fsspec.core.url_to_fs(url))
    with pytest.raises(ArtefactError, match=message) as caught:
        store.fetch(tmp_path / "second" / "gene-1")
    assert f"Remove {url}/manifests/gene-1.json" in str(caught.value)
    assert not (tmp_path / "second" / "gene-1").exists()
    assert not (tmp_path / "escaped").exists()


def change_file(system, root):
    path = next(path for path in system.find(f"{root}/files") if path.endswith("b.txt"))
    system.pipe_file(path, b"owt")


def point_outside(system, root):
    path = f"{root}/manifests/gene-1.json"
    manifest = json.loads(system.cat_file(path))
    manifest["files"]["../../escaped"] = manifest["files"].pop("b.txt")
    system.pipe_file(path, json.dumps(manifest).encode())


def test_comparison_in_remote_store_gives_same_results(url, recipe_file, tmp_path, monkeypatch, finished_results):
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "cache"))
    comparison(recipe_file, tmp_path / "out", store=url).run()
    assert results(tmp_path / "out") == finished_results
    assert not (tmp_path / "out" / "store").exists()
    # Another machine has no local copies. It trains nothing again.
    forget_published_parts()
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("germline.compare.run.train_cell._train", None)
    monkeypatch.setattr("germline.compare.run.store.fit_classifier", None)
    comparison(recipe_file, tmp_path / "again", store=url).run()
    assert results(tmp_path / "again") == finished_results
    assert len(RemoteStore.from_url(url).list_parts()) == 2 + 2 + 4
    (cache,) = (tmp_path / "elsewhere" / "stores").iterdir()
    assert len(list_stored(cache, "cell")) == 4


def test_lost_remote_part_is_published_again(url, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "cache"))
    work = comparison(recipe_file, tmp_path / "out", "seeds=[0]", store=url)
    work.run()
    system, root = fsspec.core.url_to_fs(url)
    system.rm(root, recursive=True)
    forget_published_parts()
    comparison(recipe_file, tmp_path / "again", "seeds=[0]", store=url).run()
    store = work._artifact_store({})
    assert store.find_finished([path := cell_path(store, Cell("gene", "depth=1", 3, 0))]) == {path}
    assert len(RemoteStore.from_url(url).list_parts()) == 1 + 1 + 2


def test_memory_store_refuses_worker_processes(url, recipe_file, tmp_path):
    with pytest.raises(SettingError, match="Pass --workers 1 without --engine"):
        comparison(recipe_file, tmp_path / "out", store=url, workers=2).check()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://", "names no place"),
        ("carrier-pigeon://loft/1", "Use a folder, or a URL that begins with s3://"),
    ],
)
def test_bad_url_is_refused(given, message):
    with pytest.raises(SettingError, match=message):
        RemoteStore.from_url(given)


def test_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^The store .* cannot be used\. .*choose another --store"):
        RemoteStore.from_url(f"file://{tmp_path / 'file' / 'inner'}").check_access()


def test_missing_package_is_named(monkeypatch):
    def refuse(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(SettingError, match=r"Run pip install 'germline\[s3\]'"):
        RemoteStore.from_url("s3://bucket/path")


def test_command_refuses_store_without_writing(recipe_file, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(recipe_file), "--out", str(out), "--store", "pigeon://loft"])
    assert isinstance(result.exception, SettingError)
    assert not out.exists()
