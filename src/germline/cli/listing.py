"""`germline list` and `show`: list names and settings, and print a recipe. None of this needs torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from germline.cli.options import Quick

KINDS = ("methods", "models", "data", "recipes", "settings")
_TRAIN = "train"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("list")(list_)
    app.command()(show)


def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    name: Annotated[
        str | None, typer.Argument(help="Method whose settings are listed, or train; only after settings.")
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", help="Architecture, preset or model of timm: list its methods and what each grows."),
    ] = None,
) -> None:
    """List methods, models, data, recipes, or the settings of a method: germline list settings tleg."""
    from germline.errors import SettingError, UnknownNameError

    if kind not in KINDS:
        raise UnknownNameError.with_nearest("kind", kind, KINDS)
    if for_ is not None and kind != "methods":
        raise SettingError(f"--for {for_} with '{kind}'", "Only methods depend on an architecture", "Remove --for")
    if (name is None) == (kind == "settings"):
        what = "'settings' without a name" if name is None else f"'{name}' after '{kind}'"
        raise SettingError(
            what, "Only settings take the name of a method", "Use for example germline list settings tleg"
        )
    entries = _list_setting_texts(name) if name is not None else _entries(kind) if for_ is None else _methods_for(for_)
    for entry, text in entries.items():
        print(f"{entry:24} {text}")


def _entries(kind: str) -> dict[str, str]:
    if kind == "recipes":
        return _list_recipe_titles()
    if kind == "models":
        from germline.architectures.presets import MODELS

        presets = {name: f"{architecture}: {_plain(fields)}" for name, (architecture, fields) in MODELS.items()}
        return {**presets, "vit_*, deit_*": "any plain ViT of timm"}
    from germline.catalogue import describe_data_sets, list_methods

    if kind == "methods":
        return {name: facts.line() for name, facts in list_methods().items()}
    return describe_data_sets()


def _list_recipe_titles() -> dict[str, str]:
    """Titles of packaged recipes, without parsing the whole texts; marks name demonstrations and quick versions."""
    from germline.compare.recipe.text import (
        DEMONSTRATION,
        find_kind,
        list_packaged_recipes,
        read_recipe,
        read_recipe_text,
    )

    titles = {}
    for name in list_packaged_recipes():
        text = read_recipe_text(name)
        plain = re.search(r"(?m)^title: ([^'\"|>&*#].*?) *$", text)
        title = plain[1] if plain and " #" not in plain[1] else read_recipe(name)["title"]
        kind = f" [{DEMONSTRATION}]" * (find_kind(text) == DEMONSTRATION)
        titles[name] = title + kind + " [--quick]" * bool(re.search(r"(?m)^quick:", text))
    return titles


def _methods_for(name: str) -> dict[str, str]:
    from germline.catalogue import list_methods_for

    architecture = _find_architecture(name)
    methods = list_methods_for(architecture)
    if not methods:
        return {"none": f"no method condenses a {architecture}; genes of a pool grow into it"}
    return {method: facts.sizes(architecture) for method, facts in methods.items()}


def _find_architecture(name: str) -> str:
    """Return the architecture of a preset or of a model of timm, which is built on the meta device for that.

    Raises:
        UnknownNameError: There is no such name, or germline cannot rebuild the model.
    """
    from germline.architectures.presets import MODELS
    from germline.cli.names import list_timm_names
    from germline.errors import ArtefactError, UnknownNameError
    from germline.registry import ARCHITECTURES, architecture_of, read_timm_spec

    if name in ARCHITECTURES or name in MODELS:
        return name if name in ARCHITECTURES else MODELS[name].architecture
    plain = name.removeprefix("timm:")
    if plain.partition(".")[0] not in list_timm_names():
        raise UnknownNameError.with_nearest("architecture or preset", name, [*ARCHITECTURES, *MODELS])
    try:
        return architecture_of(read_timm_spec(plain)).name
    except ArtefactError as error:
        from germline.loading.build import join_reason

        fix = "It can only be a teacher; use --for vit or --for resnet"
        raise UnknownNameError(f"no architecture of '{name}'", join_reason(error), fix) from error


def _list_setting_texts(name: str) -> dict[str, str]:
    """Settings of a method as lines: its own first, then those of its training."""
    from germline.cli.setting_list import TRAIN_SETTINGS, list_settings
    from germline.errors import UnknownNameError
    from germline.registry import METHODS

    if name != _TRAIN and name not in METHODS:
        raise UnknownNameError.with_nearest("method", name, [_TRAIN, *METHODS])
    training = {line.key for line in list_settings(TRAIN_SETTINGS)}
    lines = list_settings(TRAIN_SETTINGS if name == _TRAIN else METHODS.place(name))
    texts = {}
    for line in sorted(lines, key=lambda line: line.key in training):
        group, _, rest = line.key.rpartition(".")
        if rest in training and group:
            texts[f"{group}.KEY"] = f"settings of this training: germline list settings {_TRAIN}"
            continue
        default = f", default {line.default}" if line.default else ""
        texts[line.key] = f"{line.meaning} [{line.type}{default}]"
    return texts


def _plain(fields: Mapping[str, Any]) -> str:
    """Fields as `depth=6, width=64`. A slash separates stages, a comma separates units."""
    return ", ".join(f"{key}={_stages(value) if isinstance(value, tuple) else value}" for key, value in fields.items())


def _stages(values: tuple[Any, ...]) -> str:
    return "/".join(",".join(map(str, stage)) if isinstance(stage, tuple) else str(stage) for stage in values)


def show(recipe: Annotated[str, typer.Argument(help="Packaged recipe or file.")], quick: Quick = False) -> None:
    """Print a recipe; of a quick version, print all its keys."""
    from germline.compare.recipe.text import format_quick_recipe, read_recipe_text, split_quick_name

    plain, is_quick = split_quick_name(recipe)
    print(format_quick_recipe(plain) if quick or is_quick else read_recipe_text(plain), end="")
