"""JSON schema of recipe files, which may extend another recipe and have a quick version."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

from germline.compare.recipe.keys import RecipeKeys
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import QUICK, RENAMED_KEYS
from germline.registry import METHODS

_ATTRIBUTE = re.compile(r"(?m)^ {4}(\w+): ((?:.|\n {8})+)")


def make_recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file.

    A recipe that extends another one leaves keys out and removes keys with null. So inner keys are never required, and
    the keys of the whole are required only without `extends`. `germline check` tests what a schema cannot say.
    """
    schema = Recipe.model_json_schema()
    sections: dict[str, Any] = schema.pop("$defs", {})
    required = schema.pop("required", [])
    models = {model.__name__: model for model in _find_models(Recipe)}
    for name, section in sections.items():
        section.pop("required", None)
        _add_descriptions(section, models.get(name))
        _allow_null(section)
    _add_descriptions(schema, RecipeKeys)
    sections["Arm"]["properties"]["method"] = {"enum": [*METHODS, None], "description": "Name of the method."}
    properties = schema["properties"]
    _allow_single(properties, "described")
    _allow_single(properties, "images_per_class")
    if "question" in properties:
        about = properties["question"].pop("description", "")
        properties["question"] = {"anyOf": [{"type": "string"}, properties["question"]], "description": about}
    properties.update({old: properties[new] for old, new in RENAMED_KEYS.items()})
    _allow_null(schema)
    arms = properties["arms"]["anyOf"][0]
    arms["additionalProperties"] = {"anyOf": [arms["additionalProperties"], {"type": "null"}]}
    changes = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    properties["extends"] = {"type": "string", "description": "Recipe whose keys this one changes."}
    properties[QUICK] = {**changes, "description": "Changes for a run that only shows that the recipe works."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A recipe of germline",
        "anyOf": [{"required": required}, {"required": ["extends"]}],
        "$defs": sections,
    }


def _find_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """List the classes of a model's fields, and those of their fields."""
    found = [model]
    for field in model.model_fields.values():
        text = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in text:
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += _find_models(part)
    return found


def _add_descriptions(section: dict[str, Any], model: type[BaseModel] | None) -> None:
    """Describe keys by the docstring of their class."""
    text = inspect.cleandoc(model.__doc__ or "") if model is not None else ""
    section["description"] = text.partition("\n")[0] or section.get("title", "")
    meanings = {key: " ".join(value.split()) for key, value in _ATTRIBUTE.findall(text.partition("Attributes:\n")[2])}
    for key, value in section.get("properties", {}).items():
        value.pop("title", None)
        if key in meanings:
            value["description"] = meanings[key]


def _allow_null(section: dict[str, Any]) -> None:
    """Let null remove any key of the recipe that is extended."""
    for key, value in section.get("properties", {}).items():
        about = {"description": value.pop("description")} if "description" in value else {}
        section["properties"][key] = {"anyOf": [value, {"type": "null"}], **about}


def _allow_single(properties: dict[str, Any], key: str) -> None:
    """Let a single value be given in the place of a list with that value."""
    about = {"description": properties[key].pop("description", "")}
    properties[key] = {"anyOf": [properties[key], properties[key]["items"]], **about}
