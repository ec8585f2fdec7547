"""Keys of parts: data that move keep their parts, and parts under earlier keys are found."""

import shutil

import numpy as np
import pytest
from PIL import Image

from germline.compare.run import part_keys
from germline.compare.run.cells import Cell
from germline.compare.run.train_cell import cell_path
from germline.sharing import name_data_content
from helpers.comparison import comparison, list_stored, results

NAMES = {
    "glyphs/base": "glyphs/base",
    "cifar-fs/base,held_out=cifar-fs/open": "cifar-fs/base,held_out=cifar-fs/open",
    "cifar100:/old/place": "cifar100",
    "folder:/old/my photos/birds@64": "folder:birds@64",
    "folder:photos/birds": "folder:birds",
    "folder:C:\\photos\\birds": "folder:birds",
    "glyphs/base+folder:/a/b,stream=cifar100:/c": "glyphs/base+folder:b,stream=cifar100",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_s_name_loses_its_folder(name):
    assert name_data_content(name) == NAMES[name]


@pytest.fixture
def photos(tmp_path):
    """A folder of eight small images in each of two classes."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for label in ("cat", "dog"):
            place = tmp_path / "old" / "photos" / split / label
            place.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(draw.integers(0, 255, (32, 32), dtype=np.uint8)).save(place / f"{index}.png")
    return tmp_path / "old" / "photos"


def changes(folder):
    name = f"folder:{folder}@32"
    return f"data={name}", f"ancestor.data={name}", "seeds=[0]", "train.steps=2"


def paths(store):
    method = store.get_method("gene")
    cell = cell_path(store, Cell("gene", "depth=1", 3, 0))
    return [store.ancestor_path(0), store.gene_path(method, 0, "depth=1"), cell]


def test_moved_data_have_the_same_parts(photos, recipe_file, tmp_path):
    out = tmp_path / "out"
    before = paths(comparison(recipe_file, out, *changes(photos))._artifact_store({}))
    moved = tmp_path / "new place" / "photos"
    shutil.copytree(photos, moved)
    assert paths(comparison(recipe_file, out, *changes(moved))._artifact_store({})) == before
    # Another folder of that name with other validation images is other data.
    other = tmp_path / "other" / "photos"
    shutil.copytree(photos, other)
    (other / "val" / "cat" / "0.png").unlink()
    assert not set(paths(comparison(recipe_file, out, *changes(other))._artifact_store({}))) & set(before)


def test_parts_under_earlier_keys_are_found(photos, recipe_file, tmp_path, monkeypatch):
    store, given = tmp_path / "store", changes(photos)
    with monkeypatch.context() as patch:
        patch.setattr(part_keys, "name_by_content", part_keys.name_by_place)
        comparison(recipe_file, tmp_path / "one", *given, store=store).run()
    made = list_stored(store)
    assert len(made) == 1 + 1 + 2
    comparison(recipe_file, tmp_path / "two", *given, store=store).run()
    assert list_stored(store) == made
    assert results(tmp_path / "one") == results(tmp_path / "two")
    # What is new has the new key, and reads the gene under its earlier one.
    comparison(recipe_file, tmp_path / "three", *given, "sizes=[depth=2]", store=store).run()
    new = list_stored(store).keys() - made.keys()
    assert sorted(name.split("-")[0] for name in new) == ["cell", "cell"]
