"""The package has no circular imports, independent methods, unique names, a small contract, and short files."""

import ast
import statistics
from collections import defaultdict
from pathlib import Path

import germline
from germline.methods.base import Method
from germline.registry import METHODS

SOURCE = Path(germline.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): tree for path, tree in TREES.items()}


def imported_modules(tree):
    """Yield the modules of germline that a tree imports, also in functions and for typing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


# The top-level package imports its public names for type checkers only.
GRAPH = {
    name: {other for other in imported_modules(tree) if other in MODULES} - {name}
    for name, tree in MODULES.items()
    if name != "germline"
}


def find_circle(graph):
    """Return one import circle, as a list of modules; empty if there is none."""
    done = set()

    def visit(name, path):
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if circle := visit(other, [*path, name]):
                return circle
        done.add(name)
        return []

    for name in sorted(graph):
        if circle := visit(name, []):
            return circle
    return []


def test_find_circle_finds_one():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_package_has_no_import_circle():
    assert find_circle(GRAPH) == []


def test_no_method_imports_another_method():
    folders = {path.name for path in (SOURCE / "methods").iterdir() if (path / "__init__.py").exists()}
    assert folders >= {"auto", "gtl", "openworld", "pool", "tleg"}
    crossing = [
        (name, other)
        for name, others in GRAPH.items()
        for other in others
        if name.split(".")[1:2] == other.split(".")[1:2] == ["methods"]
        and {name.split(".")[2:3][0] if name.count(".") > 1 else "", other.split(".")[2]} <= folders
        and name.split(".")[2] != other.split(".")[2]
    ]
    assert crossing == []


def test_comparisons_and_reports_name_no_method():
    # An arm called scratch is a convention of recipes; "layers" and "stored" are keys of results, "front" is Pareto's.
    names = set(METHODS) - {"scratch", "layers", "stored", "front"}
    for folder in ("compare", "reporting"):
        for path in (SOURCE / folder).rglob("*.py"):
            strings = {
                n.value for n in ast.walk(TREES[path]) if isinstance(n, ast.Constant) and isinstance(n.value, str)
            }
            assert not strings & names, (path, strings & names)
            if folder == "reporting":
                assert not [m for m in imported_modules(TREES[path]) if ".methods" in m or ".baselines" in m], path


def test_methods_has_few_files_at_its_top():
    assert len(list((SOURCE / "methods").glob("*.py"))) <= 12


def test_the_contract_has_at_most_14_members():
    own = {name for name in vars(Method) if not name.startswith(("_", "model_"))}
    own |= {name for name in Method.__annotations__ if not name.startswith("_")}
    own -= {"model_config"}
    assert own >= {"name", "condense", "inherit", "cost", "reports"}
    assert len(own) <= 14, sorted(own)


def test_public_names_are_defined_once():
    places = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            else:
                names = []
            for name in names:
                if not name.startswith("_"):
                    places[name].append(path.name)
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert len(twice) <= 10, twice


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TREES}
    assert statistics.median(lengths.values()) < 130
    assert max(lengths.values()) < 400
