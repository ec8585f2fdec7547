"""Packages import in one order, public names are documented, and unsafe calls are absent."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import germline

SOURCE = Path(germline.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# A package imports only packages of the rows above it.
ORDER = (
    ("timm",),
    ("errors",),
    ("arguments", "paths", "tensor_file", "sharing"),
    ("files", "outputs", "hub", "randomness", "deprecation", "setting_problems"),
    ("ledger", "traits", "seals", "card_metadata"),
    ("architectures",),
    ("registry",),
    ("catalogue", "cards"),
    ("network", "gene_checks", "size_choice", "provenance"),
    ("learngene",),
    ("data",),
    ("scoring",),
    ("loading", "export"),
    ("training",),
    ("reporting",),
    ("methods",),
    ("baselines",),
    ("config", "api"),
    ("compare",),
    ("cli",),
)
RANK = {name: rank for rank, row in enumerate(ORDER) for name in row}
# These modules import the public names when they are used.
EXEMPT = {"__init__", "__main__"}


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_typing_block(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def list_imports(node):
    """Names of germline's modules that a tree imports outside TYPE_CHECKING, functions included."""
    for child in ast.iter_child_nodes(node):
        if is_typing_block(child):
            for other in child.orelse:
                yield from list_imports(other)
        elif isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "germline":
            names = [child.module] if "." in child.module else [f"germline.{alias.name}" for alias in child.names]
            yield from (name.split(".")[1] for name in names)
        elif isinstance(child, ast.Import):
            yield from (a.name.split(".")[1] for a in child.names if a.name.startswith("germline."))
        else:
            yield from list_imports(child)


def package_of(path):
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_package_imports_only_earlier_packages(path):
    own = package_of(path)
    if own in EXEMPT:
        return
    assert own in RANK, f"{own} is missing in ORDER"
    later = {name for name in list_imports(parse(path)) if RANK[name] > RANK[own]}
    assert not later
    same_row = {name for name in list_imports(parse(path)) if RANK[name] == RANK[own] and name != own}
    assert not same_row


def test_import_check_covers_functions_and_skips_typing():
    text = "if TYPE_CHECKING:\n    from germline.cli import x\ndef f():\n    from germline.training import Run\n"
    assert list(list_imports(ast.parse(text + "from germline import data\nimport germline.files"))) == [
        "training",
        "data",
        "files",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_names_are_documented(path):
    tree = parse(path)
    undocumented = [] if ast.get_docstring(tree) or not tree.body else ["the module"]
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_")]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for scope in scopes for node in scope.body if isinstance(node, kinds) and node.name[0] != "_"]
    public = [node for node in public if "override" not in map(ast.unparse, node.decorator_list)]
    undocumented += [node.name for node in public if not ast.get_docstring(node)]
    assert not undocumented


def find_calls(tree, name):
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func).endswith(name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_unpickled_and_loads_are_strict(path):
    tree = parse(path)
    for call in find_calls(tree, "torch.load"):
        assert {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only") == "True"
    loose = [call for call in find_calls(tree, "load_state_dict") if any(k.arg == "strict" for k in call.keywords)]
    assert not loose
    assert not find_calls(tree, "torch.save")
    assert not [c for c in find_calls(tree, "np.load") if "allow_pickle=False" not in ast.unparse(c)]
    names = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert path.name == "safe_pickle.py" or "pickle" not in names


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_germline_does_not_import_torch():
    code = "import germline, sys; print([m for m in ('torch', 'timm', 'numpy', 'pydantic') if m in sys.modules])"
    assert run_python(code) == "[]"


def test_public_names_resolve_in_any_order():
    code = (
        "import germline as gl; assert gl.TLEG(epochs=1).name == 'tleg'; "
        "digits = gl.data('digits'); import germline.data.loader; "
        "print(len(gl.data('digits').classes), len(gl.load_data('digits').classes)); "
        "[getattr(gl, name) for name in gl.__all__]"
    )
    assert run_python(code) == "10 10"
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        germline.no_such_name  # noqa: B018
