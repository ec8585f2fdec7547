"""`germline push` against a hub that is a folder."""

import huggingface_hub
import pytest

from germline.learngene import Learngene
from germline.loading import load_network
from helpers.bad_input import snapshot
from helpers.hub import FolderHub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = FolderHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    return hub


def test_gene_is_uploaded(workdir, run, hub):
    done = run("push", "gene", "someone/my-gene", "--message", "first")
    assert (done.code, done.out, done.err) == (0, "hf-hub:someone/my-gene: hub/someone/my-gene\n", "")
    assert hub.messages == ["first"]
    assert Learngene.load(hub.root / "someone/my-gene").settings == Learngene.load("gene").settings


@pytest.mark.parametrize("folder", ["ancestor", "child"])
def test_a_network_is_uploaded_without_other_files(folder, workdir, run, hub):
    (workdir / folder / "secret.txt").write_text("mine")
    assert run("push", folder, "someone/net").code == 0
    uploaded = hub.root / "someone/net"
    assert sorted(path.name for path in uploaded.iterdir()) == sorted(
        path.name for path in (workdir / folder).iterdir() if path.name != "secret.txt"
    )
    assert load_network(uploaded).classes == load_network(workdir / folder).classes


@pytest.mark.parametrize("folder", ["gene", "ancestor"])
def test_a_new_repository_can_be_private_from_the_command_line(folder, workdir, run, hub):
    assert run("push", folder, "someone/open").code == 0
    assert run("push", folder, "someone/closed", "--private").code == 0
    assert hub.private == [None, True]


@pytest.mark.parametrize("name", ["net", "a/b/c", "/net", "someone/", "some one/net", "someone/net..x", "../x", "a/-"])
def test_invalid_repository_names_are_refused(name, workdir, run, hub):
    done = run("push", "ancestor", name)
    assert done.code == 2
    assert "Use a name such as owner/name." in done.err
    assert not hub.root.exists()


def test_a_damaged_gene_is_not_uploaded(workdir, run, hub):
    path = workdir / "gene/learngene.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    done = run("push", "gene", "someone/gene")
    assert done.code == 2
    assert not hub.root.exists()


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_other_folders_are_refused(folder, workdir, run, hub):
    done = run("push", folder, "someone/x")
    assert done.code == 2
    assert "is neither a gene nor a network" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route to host"),
        huggingface_hub.errors.HFValidationError("Repo id must be a string"),
        huggingface_hub.errors.LocalTokenNotFoundError("Token is required"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_of_the_hub_is_reported(error, workdir, run, hub):
    hub.fails = error
    before = snapshot(workdir)
    done = run("push", "ancestor", "someone/net")
    assert done.code == 2
    assert "Cannot upload to 'hf-hub:someone/net'. " in done.err
    assert str(error).lower() in done.err.lower()
    assert "hf auth login" in done.err
    assert snapshot(workdir) == before
