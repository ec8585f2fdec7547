"""The contract of a method stays small, and a method stays in one place."""

import ast
from pathlib import Path

from pydantic import BaseModel

import germline.methods
from germline.methods.base import Method

FOLDER = Path(germline.methods.__file__).parent
# The contract of condensing, growing and counting; what only some methods need is on a class of its own.
MOST_MEMBERS = 14
MOST_FILES = 12


def members(kind):
    """Names that a model class adds to pydantic's: class variables, settings, methods and properties."""
    names = {*vars(kind), *vars(kind).get("__annotations__", {})}
    return {name for name in names if not name.startswith("_") and not hasattr(BaseModel, name)}


def test_the_contract_is_small():
    assert members(Method) == {
        "name",
        "paper",
        "ancestor",
        "architectures",
        "traits",
        "reports",
        "condense_spec",
        "condense",
        "inherit",
        "objective",
        "describe_sizes",
        "descendant_spec",
        "check_size",
        "cost",
    }
    assert len(members(Method)) <= MOST_MEMBERS


def test_what_methods_share_is_little():
    assert len([path for path in FOLDER.iterdir() if path.suffix == ".py"]) <= MOST_FILES


def test_a_method_imports_nothing_of_another_one():
    found = []
    for path in sorted(FOLDER.rglob("*.py")):
        own = path.relative_to(FOLDER).parts[0]
        modules = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        folders = {module.split(".")[2] for module in modules if module and module.startswith("germline.methods.")}
        folders = {name for name in folders if (FOLDER / name).is_dir()}
        found += [(str(path.relative_to(FOLDER)), name) for name in folders - {own}]
    assert not found
