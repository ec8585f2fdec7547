"""The JSON schema of recipes: all packaged ones fit, wrong ones do not."""

import copy
import json

import pytest
import yaml

from germline.compare.recipe.json_schema import make_recipe_schema
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import list_packaged_recipes

SCHEMA = make_recipe_schema()
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def list_problems(value, schema, place=""):
    """Check a value against the part of JSON schema that pydantic writes; return the places that do not fit."""
    if "$ref" in schema:
        return list_problems(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], place)
    # Old releases of pydantic wrap a reference that has a default.
    found = [place for option in schema.get("allOf", ()) if list_problems(value, option, place)]
    if "anyOf" in schema and all(list_problems(value, option, place) for option in schema["anyOf"]):
        found.append(place)
    wanted = schema.get("type")
    if wanted and (not isinstance(value, TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        return [*found, place]
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        found.append(place)
    if isinstance(value, dict):
        found += [place] if len(value) < schema.get("minProperties", 0) else []
        found += [f"{place}.{key}" for key in schema.get("required", ()) if key not in value]
        for key, inner in value.items():
            other = schema.get("additionalProperties", True)
            rule = schema.get("properties", {}).get(key, other)
            if rule is False:
                found.append(f"{place}.{key}")
            elif rule is not True:
                found += list_problems(inner, rule, f"{place}.{key}")
    if isinstance(value, list):
        found += [
            p
            for index, item in enumerate(value)
            for p in list_problems(item, schema.get("items", {}), f"{place}.{index}")
        ]
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(place)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, above = schema.get("minimum", value), schema.get("exclusiveMinimum", value - 1)
        high, below = schema.get("maximum", value), schema.get("exclusiveMaximum", value + 1)
        if not (low <= value <= high and above < value < below):
            found.append(place)
    return found


@pytest.mark.parametrize("name", list_packaged_recipes())
def test_a_packaged_recipe_fits(name):
    raw = yaml.safe_load(list_packaged_recipes()[name].read_text(encoding="utf-8"))
    # YAML 1.1 reads 1e-3 as text; germline and editors read a number.
    raw = json.loads(json.dumps(raw), parse_float=float)
    assert list_problems(as_numbers(raw), SCHEMA) == []


def as_numbers(value):
    if isinstance(value, dict):
        return {key: as_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_numbers(inner) for inner in value]
    try:
        return float(value) if isinstance(value, str) and value[:1].isdigit() and "e" in value else value
    except ValueError:
        return value


def load_demo():
    return yaml.safe_load(list_packaged_recipes()["demo"].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"titel": "x"}, ".titel"),
        ({"title": 3}, ".title"),
        ({"kind": "fast"}, ".kind"),
        ({"minutes": 0}, ".minutes"),
        ({"protocol": "speed"}, ".protocol"),
        ({"seeds": [-1]}, ".seeds"),
        ({"seeds": []}, ".seeds"),
        ({"train": {"lr": -1}}, ".train"),
        ({"train": {"step": 1}}, ".train"),
        ({"arms": {"a": {"method": "tlge"}}}, ".arms"),
        ({"arms": {}}, ".arms"),
        ({"tune": {"lr": [1, 2, 3, 4, 5]}}, ".tune"),
        ({"quick": {"sedes": [1]}}, ".quick.sedes"),
        ({"extends": 3}, ".extends"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_recipe_does_not_fit(change, place):
    assert any(found.startswith(place) for found in list_problems({**load_demo(), **change}, SCHEMA))


@pytest.mark.parametrize("key", ["title", "protocol", "data", "ancestor", "arms", "sizes", "images_per_class", "seeds"])
def test_a_missing_key_does_not_fit_unless_the_recipe_extends_another(key):
    raw = load_demo()
    del raw[key]
    assert list_problems(raw, SCHEMA)
    assert list_problems({**raw, "extends": "demo"}, SCHEMA) == []


@pytest.mark.parametrize("key", ["kind", "minutes", "one_gene", "tune", "final"])
def test_a_key_with_a_default_can_be_left_out(key):
    raw = load_demo()
    raw.pop(key, None)
    assert list_problems(raw, SCHEMA) == []


def test_every_key_is_described():
    for key in Recipe.model_fields:
        assert SCHEMA["properties"][key]["description"], key
    assert len(SCHEMA["$defs"]["TrainSettings"]["properties"]["lr"]["description"]) > 10
    assert copy.deepcopy(SCHEMA) == make_recipe_schema()
