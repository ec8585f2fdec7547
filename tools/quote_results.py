"""Put tables of stored results and of settings into README and docs.

A page asks for a table with a comment. The table is written below the comment and replaces the old one:

    <!-- results: tleg-samples claims_table scratch|layers -->

The three words are:

- a file of `benchmarks/results`, without its ending;
- a function that makes a table: its dotted path, such as `germline.methods.gtl.report_fitness.generations_table`, or a
  short name. `report.` and `analysis.` mean packages of `germline.compare`. A name without dots is looked up in the
  `tables` and `cost_tables` of `germline.compare.report`, and in the report modules of methods;
- a regular expression that rows must match (optional; all rows by default).

`<!-- settings: NAME -->` asks for the table of a method's own settings. Tables of the reference are made from the code:

- `<!-- options: COMMAND -->`: the arguments and options of a command;
- `<!-- commands: all -->`: the commands;
- `<!-- keys: RecipeKeys -->`: the keys of a recipe, or of one of its sections, such as `Tuning`;
- `<!-- recipes: lab -->`: the packaged recipes whose names start so;
- `<!-- names: germline -->`: the public names of a module, each with its first docstring line.

A function with an argument `records` gets the parsed records of its method by arm and seed. All others get the
`ComparisonResults`.

    python tools/quote_results.py            # write the tables
    python tools/quote_results.py --check    # list the pages that would change
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from germline.cli import app
from germline.compare.analysis.results import ComparisonResults
from germline.compare.recipe.text import list_packaged_recipes, read_recipe
from germline.compare.report.gene_records import records_by_arm
from germline.methods.base import Method
from germline.registry import METHODS
from germline.reporting.hook import load_report_module, report_places
from germline.reporting.html import Rows, markdown_table

ROOT = Path(__file__).resolve().parents[1]
ATTRIBUTE = re.compile(r"(?m)^ {4}(\w+): ((?:.|\n {8})+)")
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
CODE = re.compile(r"(<!-- (settings|options|commands|keys|recipes|names): (\S+) -->\n)((?:\|.*\n)*)")
REQUEST = re.compile(r"(<!-- results: (\S+) ([\w.]+)(?: (.+?))? -->\n)((?:\|.*\n)*)")
RECIPE_MODULES = ("germline.compare.recipe.keys", "germline.compare.recipe.sections", "germline.training")
TABLE_MODULES = ("germline.compare.report.tables", "germline.compare.report.cost_tables")
# Names of tables before they were renamed.
ALIASES = {
    "choice_table": "germline.methods.gtl.report_fitness.fitness_claims_table",
    "analysis.selection_regret.table": "germline.compare.analysis.selection_regret.regret_table",
    "report.paths_protocol.claims_table": "germline.compare.report.paths_protocol.paths_claims_table",
    "report.paths_protocol.over_table": "germline.compare.report.paths_protocol.over_sizes_table",
    "report.paths_protocol.family_table": "germline.compare.report.paths_protocol.paths_family_table",
    "report.paths_protocol.stored_table": "germline.compare.report.paths_protocol.paths_stored_table",
}


def update_tables(page: str) -> str:
    """Return the page with every table that it asks for, from the results and from the code."""
    page = CODE.sub(lambda match: match[1] + CODE_TABLES[match[2]](match[3]), page)
    return REQUEST.sub(lambda match: match[1] + quote_table(match[2], match[3], match[4] or ""), page)


def settings_table(name: str) -> str:
    """Return a method's own settings as Markdown: name, default, and meaning from the docstring."""
    method = METHODS[name]
    meanings: dict[str, str] = {}
    for base in method.__mro__:
        if base.__module__.startswith("germline.training") or base is Method:
            continue
        _, _, text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        meanings |= {key: " ".join(value.split()) for key, value in ATTRIBUTE.findall(text) if key not in meanings}
    rows = [["setting", "default", "meaning"]]
    for key, meaning in meanings.items():
        if key in method.model_fields:
            rows.append([f"`{key}`", _default_text(method, key), meaning.replace("|", "\\|")])
    return _markdown(rows)


def _markdown(rows: Rows) -> str:
    return markdown_table(rows).rstrip("\n") + "\n"


def commands_table(_: str) -> str:
    """Return all commands as Markdown, each with the first line of its help."""
    commands: dict[str, Any] = typer.main.get_command(app).commands
    rows = [[f"[`germline {name}`](#germline-{name})", _first_line(command.help)] for name, command in commands.items()]
    return _markdown([["command", "what it does"], *rows])


def options_table(name: str) -> str:
    """Return the arguments and options of a command as Markdown."""
    commands: dict[str, Any] = typer.main.get_command(app).commands
    rows = [["argument or option", "default", "meaning"]]
    for parameter in commands[name].params:
        is_option = parameter.opts[0].startswith("-")
        text = ", ".join(parameter.opts) if is_option else (parameter.metavar or parameter.name.upper())
        text += "".join(f" / {opposite}" for opposite in parameter.secondary_opts)
        default = parameter.default
        if parameter.required:
            shown = "required"
        elif isinstance(default, bool):
            shown = "on" if default else "off"
        else:
            shown = f"`{default}`" if default not in (None, "", ()) else "none"
        rows.append([f"`{text}`", shown, (getattr(parameter, "help", "") or "").replace("|", "\\|")])
    return _markdown(rows)


def keys_table(name: str) -> str:
    """Return the keys of a section of recipes as Markdown, with defaults and meanings from its docstring."""
    module = next(place for place in RECIPE_MODULES if hasattr(importlib.import_module(place), name))
    section = getattr(importlib.import_module(module), name)
    _, _, text = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")
    rows = [["key", "default", "meaning"]]
    for key, meaning in ATTRIBUTE.findall(text):
        field = section.model_fields[key]
        shown = "required" if field.is_required() else _plain_default(field.get_default(call_default_factory=True))
        rows.append([f"`{key}`", shown, " ".join(meaning.split()).replace("|", "\\|")])
    return _markdown(rows)


def _plain_default(value: Any) -> str:
    if isinstance(value, (tuple, list)) and value:
        return f"`{list(value)}`"
    if isinstance(value, (bool, int, float, str)) and value != "":
        return f"`{value}`"
    return "see there" if hasattr(type(value), "model_fields") else "none"


def recipes_table(start: str) -> str:
    """Return the packaged recipes whose names begin with a text, as Markdown."""
    rows = [["recipe", "question", "protocol", "kind", "minutes"]]
    for name in sorted(list_packaged_recipes()):
        if not name.startswith(start):
            continue
        recipe = read_recipe(name)
        minutes = recipe.get("minutes")
        kind = recipe.get("kind", "full")
        rows.append([f"`{name}`", recipe["title"], recipe["protocol"], kind, f"{minutes:g}" if minutes else "unknown"])
    return _markdown(rows)


def names_table(module: str) -> str:
    """Return the public names of a module as Markdown, each with its first docstring line."""
    package = importlib.import_module(module)
    rows = [["name", "what it is"]]
    for name in sorted(package.__all__, key=str.lower):
        value = getattr(package, name)
        if not inspect.ismodule(value):
            rows.append([f"`{name}`", _first_line(value.__doc__).replace("|", "\\|")])
    return _markdown(rows)


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if (text or "").strip() else ""


CODE_TABLES: dict[str, Callable[[str], str]] = {
    "settings": settings_table,
    "options": options_table,
    "commands": commands_table,
    "keys": keys_table,
    "recipes": recipes_table,
    "names": names_table,
}


def _default_text(method: type[Method], key: str) -> str:
    try:
        value = getattr(method(), key)
    except ValueError:
        value = method.model_fields[key].default
    return f"`{value}`" if isinstance(value, (int, float, str)) and value != "" else "see presets" if value else "none"


def quote_table(name: str, function: str, pattern: str) -> str:
    """Return one table of one stored comparison as Markdown, with the rows that match the pattern."""
    results = ComparisonResults.load(ROOT / "benchmarks" / "results" / f"{name}.json")
    lines = markdown_table(make_table(function, results)).splitlines(keepends=False)
    return "\n".join([*lines[:2], *(line for line in lines[2:] if re.search(pattern, line)), ""])


def make_table(function: str, results: ComparisonResults) -> Rows:
    """Call the function of that name or dotted path.

    Raises:
        ValueError: There is no such function.
    """
    place, name = _find_function(function)
    make = getattr(importlib.import_module(place), name)
    rows: Rows = make(_read_records(place, results) if "records" in inspect.signature(make).parameters else results)
    return rows


def _read_records(place: str, results: ComparisonResults) -> Mapping[str, Mapping[int, Any]]:
    """Return the records that a report module parses, by arm and seed: `place`, or the first in its package."""
    package = place.rpartition(".")[0]
    pairs = [pair for pair in report_places().items() if pair[1].rpartition(".")[0] == package]
    kind, module = next((pair for pair in pairs if pair[1] == place), pairs[0])
    return records_by_arm(results, kind, load_report_module(module))


def _find_function(function: str) -> tuple[str, str]:
    """Return module and name of a function."""
    module, _, name = ALIASES.get(function, function).rpartition(".")
    if module:
        return module if module.startswith("germline.") else f"germline.compare.{module}", name
    for place in (*TABLE_MODULES, *report_places().values()):
        if hasattr(importlib.import_module(place), name):
            return place, name
    raise ValueError(f"No function makes a table '{function}'. Use its dotted path.")


def main() -> int:
    """Write the tables, or list the pages that would change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check, changed = parser.parse_args().check, []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        updated = update_tables(text)
        if updated != text:
            changed.append(path.name)
            if not check:
                path.write_text(updated, encoding="utf-8")
    print("changed: " + (", ".join(changed) or "none"))
    return int(check and bool(changed))


if __name__ == "__main__":
    raise SystemExit(main())
