"""Paths: number, order, names, and refused sizes."""

from collections import Counter

import pytest

from germline.architectures import Size
from germline.errors import SettingError
from germline.methods.pool.paths import PoolLayout, PoolPath, Stitch, cut_window, list_cuts

THREE = (192, 384, 768)


@pytest.mark.parametrize(("depth", "pairs"), [(1, 1), (2, 4), (6, 16), (9, 25), (12, 34)])
def test_cuts_are_pairs_of_neighbouring_blocks(depth, pairs):
    found = list_cuts(depth)
    assert len(set(found)) == len(found) == pairs == 3 * depth - 2
    assert set(found) == {(j, k) for j in range(1, depth + 1) for k in range(1, depth + 1) if abs(j - k) <= 1}


def test_cuts_have_the_order_of_the_public_code():
    assert list_cuts(3) == ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3))


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        (PoolLayout((192, 768), 6), 18),
        (PoolLayout((192, 768), 9), 27),
        (PoolLayout(THREE, 12), 71),
        (PoolLayout(THREE, 6, "all", 3), 201),
        (PoolLayout(THREE, 9, "all", 3), 426),
        (PoolLayout(THREE, 6, "all", 2), 3 + 3 * 16),
        (PoolLayout(THREE, 6, "nearest", 3), 3 + 2 * 16 + 150),
    ],
    ids=str,
)
def test_layouts_have_the_published_numbers_of_paths(layout, count):
    assert len(set(layout.paths)) == len(layout.paths) == count
    assert len({str(path) for path in layout.paths}) == count


def test_paths_are_ordered_by_number_of_models():
    found = [path.widths for path in PoolLayout((1, 2, 3), 2, "all", 3).paths]
    assert list(dict.fromkeys(found)) == [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    assert [len(widths) for widths in found] == sorted(len(widths) for widths in found)


def test_windows_are_shared_as_published():
    """With blocks from 0, window 0 has (0,0), (0,1), (1,0), (1,1); window w has (w,w+1), (w+1,w), (w+1,w+1)."""
    first = {cut for cut in list_cuts(6) if cut_window(*cut) == 0}
    assert first == {(1, 1), (1, 2), (2, 1), (2, 2)}
    for number in range(1, 5):
        low, high = number + 1, number + 2
        assert {cut for cut in list_cuts(6) if cut_window(*cut) == number} == {(low, high), (high, low), (high, high)}


@pytest.mark.parametrize("layout", [PoolLayout((1, 2, 3), depth, "all", 3) for depth in (1, 2, 6)], ids=str)
def test_stitches_are_exactly_those_of_the_paths(layout):
    reached = Counter(stitch for path in layout.paths for stitch in path.stitches())
    assert set(reached) == set(layout.stitches)
    assert len(layout.stitches) == len(set(layout.stitches)) == 3 * max(layout.depth - 1, 1)


def test_path_has_the_blocks_of_its_name():
    assert PoolPath((24, 96), ((3, 4),)).block_ranges(6) == [(24, range(0, 3)), (96, range(3, 6))]
    assert PoolPath((96,)).block_ranges(6) == [(96, range(0, 6))]
    assert PoolPath((1, 2, 3), ((2, 1), (4, 5))).block_ranges(6) == [
        (1, range(0, 2)),
        (2, range(0, 4)),
        (3, range(4, 6)),
    ]
    assert PoolPath((1, 2, 3), ((2, 1), (4, 5))).stitches() == [Stitch(1, 2, 0), Stitch(2, 3, 3)]
    assert Stitch(24, 96, 3).name == "stitch.24-96.3"


@pytest.mark.parametrize("layout", [PoolLayout(THREE, 6, "all", 3)], ids=str)
def test_paths_have_the_published_numbers_of_blocks(layout):
    for path in layout.paths:
        blocks = sum(len(run) for _, run in path.block_ranges(6))
        assert blocks == 6 + sum(j - k + 1 for j, k in path.cuts)
        assert all(len(run) >= 1 for _, run in path.block_ranges(6))
        if len(path.cuts) < 2:
            assert 6 <= blocks <= 8 - (not path.cuts) * 2


def test_sizes_in_any_order_of_keys_give_the_path():
    layout = PoolLayout(THREE, 6, "all", 3)
    for path in layout.paths[::7]:
        assert layout.path(Size.parse(str(path))) == PoolPath.of(path.size) == path
    assert str(layout.path(Size(k=4, end=768, j=3, front=192))) == "front=192,end=768,j=3,k=4"
    assert str(layout.path(Size(width=384))) == "width=384"


def test_names_are_stable():
    """Paths as (front, end, j, k), with blocks from 0, are those of the first release."""
    pairs = [(*path.widths, *(block - 1 for block in path.cuts[0])) for path in PoolLayout((192, 768), 6).paths[2:]]
    assert pairs[:4] == [(192, 768, 0, 0), (192, 768, 0, 1), (192, 768, 1, 0), (192, 768, 1, 1)]
    assert pairs[-1] == (192, 768, 5, 5)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("depth=3", "cannot grow depth=3. The sizes of a pool are its paths"),
        ("front=24,end=96", "The sizes of a pool are its paths"),
        ("front=24,end=96,j=3,k=4,width=24", "The sizes of a pool are its paths"),
        ("width=32", "have widths 24, 48, 96; none has 32"),
        ("front=24,end=97,j=3,k=4", "none has 97"),
        ("front=96,end=24,j=3,k=4", "from smaller models to larger ones"),
        ("front=24,end=24,j=3,k=4", "from smaller models to larger ones"),
        ("front=24,end=96,j=3,k=4", "join only neighbouring widths"),
        ("front=24,end=48,j=3,k=5", "Choose j and k up to 6 that differ by 1 at most"),
        ("front=24,end=48,j=7,k=6", "have blocks 1 to 6"),
        ("front=24,middle=48,end=96,j=3,k=4,l=4,m=4", "have at most 2 models"),
    ],
)
def test_sizes_that_are_no_paths_are_refused(size, message):
    with pytest.raises(SettingError, match=message) as error:
        PoolLayout((24, 48, 96), 6).path(Size.parse(size))
    assert "cannot grow" in str(error.value)


def test_middle_model_without_blocks_is_refused():
    layout = PoolLayout((24, 48, 96), 6, "nearest", 3)
    assert layout.path(Size.parse("front=24,middle=48,end=96,j=3,k=4,l=4,m=4")) in layout.paths
    with pytest.raises(SettingError, match=r"No block of the middle model is left\. Set l to k or more"):
        layout.path(Size.parse("front=24,middle=48,end=96,j=3,k=4,l=3,m=4"))
