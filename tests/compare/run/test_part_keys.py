"""Keys of parts: moved data keep their parts, and parts with earlier keys are found."""

import shutil

import numpy as np
import pytest
from PIL import Image

from germline.compare.run import part_keys
from germline.compare.run.cells import Cell
from germline.compare.run.train_cell import _make_cell_path, cell_path
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
def test_content_name_of_data_has_no_folder(name):
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


def make_changes(folder):
    name = f"folder:{folder}@32"
    return f"data={name}", f"ancestor.data={name}", "seeds=[0]", "train.steps=2"


def list_paths(store):
    method = store.get_method("gene")
    cell = cell_path(store, Cell("gene", "depth=1", 3, 0))
    return [store.ancestor_path(0), store.gene_path(method, 0, "depth=1"), cell]


def test_moved_data_keep_their_parts(photos, recipe_file, tmp_path):
    out = tmp_path / "out"
    before = list_paths(comparison(recipe_file, out, *make_changes(photos))._artifact_store({}))
    moved = tmp_path / "new place" / "photos"
    shutil.copytree(photos, moved)
    assert list_paths(comparison(recipe_file, out, *make_changes(moved))._artifact_store({})) == before
    # A folder of the same name with other validation images is another data set.
    other = tmp_path / "other" / "photos"
    shutil.copytree(photos, other)
    (other / "val" / "cat" / "0.png").unlink()
    assert not set(list_paths(comparison(recipe_file, out, *make_changes(other))._artifact_store({}))) & set(before)


def test_other_test_images_make_other_cells_alone(photos, recipe_file, tmp_path):
    out = tmp_path / "out"
    before = list_paths(comparison(recipe_file, out, *make_changes(photos))._artifact_store({}))
    other = tmp_path / "other" / "photos"
    shutil.copytree(photos, other)
    (other / "test" / "cat" / "0.png").unlink()
    after = list_paths(comparison(recipe_file, out, *make_changes(other))._artifact_store({}))
    assert after[:2] == before[:2]
    assert after[2] != before[2]


def test_parts_with_earlier_keys_are_found(photos, recipe_file, tmp_path, monkeypatch):
    store, given = tmp_path / "store", make_changes(photos)
    with monkeypatch.context() as patch:
        patch.setattr(part_keys, "name_by_content", part_keys.name_by_place)
        comparison(recipe_file, tmp_path / "one", *given, store=store).run()
    parts = list_stored(store)
    assert len(parts) == 1 + 1 + 2
    comparison(recipe_file, tmp_path / "two", *given, store=store).run()
    assert list_stored(store) == parts
    assert results(tmp_path / "one") == results(tmp_path / "two")
    # New cells have new keys. They read the gene with its earlier key.
    comparison(recipe_file, tmp_path / "three", *given, "sizes=[depth=2]", store=store).run()
    new = list_stored(store).keys() - parts.keys()
    assert sorted(name.split("-")[0] for name in new) == ["cell", "cell"]


def test_other_final_data_are_another_part(recipe_file, tmp_path):
    cell = Cell("gene", "depth=1", 3, 0)

    def find_path(*changes):
        return cell_path(comparison(recipe_file, tmp_path, *changes)._artifact_store({}), cell)

    one, other = (find_path("final=true", f"final_data=digits@{side}") for side in (24, 16))
    assert len({find_path(), one, other}) == 3
    assert find_path("final=true", "final_data=digits@24") == one
    assert find_path("final_data=digits@24") == find_path()  # without a reading, these data play no part


def test_final_parts_with_earlier_keys_are_found(recipe_file, tmp_path):
    cell, final = Cell("gene", "depth=1", 3, 0), ("final=true", "final_data=digits@24")
    store = comparison(recipe_file, tmp_path, *final)._artifact_store({})
    new, earlier = cell_path(store, cell), _make_cell_path(store, cell, part_keys.name_by_content)
    assert new != earlier
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    assert cell_path(store, cell) == earlier
    new.touch()
    assert cell_path(store, cell) == new


def test_the_own_final_part_of_characters_is_not_that_of_other_final_data(recipe_file, tmp_path):
    cell, glyphs = Cell("gene", "depth=1", 3, 0), ("data=glyphs/novel", "ancestor.data=glyphs/base", "final=true")
    own = cell_path(comparison(recipe_file, tmp_path, *glyphs)._artifact_store({}), cell)
    own.parent.mkdir(parents=True)
    own.touch()
    other = comparison(recipe_file, tmp_path, *glyphs, "final_data=glyphs/open")._artifact_store({})
    assert cell_path(other, cell) != own
