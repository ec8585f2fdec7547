"""Sizes: the text form, keyword arguments, and what is refused."""

import pytest

from germline.architectures import Size
from germline.errors import SettingError


def test_text_and_keywords_give_the_same_size():
    size = Size.parse("depth=6, width=96")
    assert size == Size(depth=6, width=96)
    assert dict(size) == {"depth": 6, "width": 96}
    assert str(size) == "depth=6,width=96"
    assert hash(size) == hash(Size(depth=6, width=96))
    assert Size(width=96, depth=6) == size
    assert hash(Size(width=96, depth=6)) == hash(size)
    assert len(Size.parse("")) == 0


@pytest.mark.parametrize("text", ["depth", "depth=", "6"])
def test_text_other_than_key_and_number_is_refused(text):
    with pytest.raises(SettingError, match=r"is not key=number.*depth=6"):
        Size.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=x", "'x' is no whole number; K, M or G may follow it. Use for example depth=6."),
        ("depth=1.5", "'1.5' is no whole number; K, M or G may follow it. Use for example depth=6."),
        ("max_flops=1e6", "'1e6' is no whole number; K, M or G may follow it. Use for example max_flops=1M."),
        ("max_params=5MB", "'5MB' is no whole number; K, M or G may follow it. Use for example max_params=1M."),
    ],
)
def test_value_other_than_a_whole_number_is_named(text, message):
    with pytest.raises(SettingError) as caught:
        Size.parse(text)
    assert str(caught.value) == f"Size '{text}'. {message}"


def test_repeated_key_is_refused():
    with pytest.raises(SettingError, match="'depth' is given twice"):
        Size.parse("depth=3, depth=4")


@pytest.mark.parametrize("text", ["depth=0", "depth=-2"])
def test_number_below_one_is_refused(text):
    with pytest.raises(SettingError, match="at least 1"):
        Size.parse(text)


@pytest.mark.parametrize("value", [1.5, True, "6"])
def test_value_other_than_an_integer_is_refused(value):
    with pytest.raises(SettingError, match="whole numbers"):
        Size(depth=value)


@pytest.mark.parametrize(
    ("text", "number"), [("12M", 12_000_000), ("1.5K", 1500), ("2G", 2_000_000_000), ("0.0000025M", None), ("2k", None)]
)
def test_suffixes_are_thousands_millions_and_billions(text, number):
    if number is None:
        with pytest.raises(SettingError, match="K, M or G may follow it"):
            Size.parse(f"max_params={text}")
    else:
        assert Size.parse(f"max_params={text}") == Size(max_params=number)
