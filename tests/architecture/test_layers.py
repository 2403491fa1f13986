"""The rules of docs/architecture.md that can be read off the source."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import modyn

PACKAGE = Path(modyn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LAYER = {
    **dict.fromkeys(["errors", "phases", "policy", "problems", "types", "usercode", "version"], 0),
    **dict.fromkeys(["config", "runlog", "rounds", "run", "workspace", "drift", "provenance"], 1),
    **dict.fromkeys(["sources", "datasets", "triggers", "selectors", "training", "models", "evaluation"], 2),
    "executors": 3,
    **dict.fromkeys(
        [
            "pipeline",
            "stations",
            "streaming",
            "following",
            "passing",
            "selecting",
            "checks",
            "starter",
            "reports",
            "simulation",
        ],
        4,
    ),
    **dict.fromkeys(["cli", "server"], 5),
    "__main__": 6,
}
# What a file of one layer may import from its own layer.
SIDEWAYS = {
    "errors": set(),
    "problems": {"errors"},
    "policy": {"errors", "problems", "usercode"},
    "usercode": {"errors", "problems"},
    "config": {"workspace"},
    "runlog": {"workspace"},
    "rounds": {"runlog"},
    "run": {"rounds", "runlog", "reports"},  # Run.report() imports reports when it is called, not before
    "drift": {"config"},
    "provenance": {"runlog"},
    "pipeline": {"stations", "streaming", "following", "checks"},
    "following": {"passing", "pipeline", "stations", "streaming"},
    "checks": {"pipeline", "selecting", "streaming"},
    "stations": {"pipeline", "selecting", "streaming"},
    "streaming": {"pipeline"},
    "simulation": {"stations", "streaming", "pipeline"},
    "triggers": {"drift"},
}
TORCH_HOMES = ("training", "models", "evaluation", "selectors.signals")
HEAVY = {"torch", "ray", "torchvision", "transformers", "sklearn", "plotly", "pandas"}


def station(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path, *, runtime_only: bool = True, top_level_only: bool = False) -> set[str]:
    """The modules a file imports; those under ``if TYPE_CHECKING`` only if asked for."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if runtime_only and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if top_level_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and child.level == 0:
                found.add(child.module)
                if child.module == "modyn":
                    found.update(f"modyn.{alias.name}" for alias in child.names)
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward_only(path: Path) -> None:
    here = station(path)
    if here == "__init__":
        return
    assert here in LAYER, f"{here} has no layer: give it one here and in docs/architecture.md"
    for name in imports(path):
        if not name.startswith("modyn."):
            continue
        there = name.split(".")[1]
        if there == here or there in SIDEWAYS.get(here, set()):
            continue
        if there not in LAYER:
            assert hasattr(modyn, there), f"{path} imports {name}, which has no layer"
            continue
        assert LAYER[there] < LAYER[here], f"{here} (layer {LAYER[here]}) imports {name} (layer {LAYER[there]})"


@pytest.mark.parametrize("path", [p for p in FILES if station(p) == "reports"], ids=lambda p: p.name)
def test_a_report_reads_only_what_a_run_left(path: Path) -> None:
    others = {name.split(".")[1] for name in imports(path) if name.startswith("modyn.")} - {"reports"}
    assert not {there for there in others if LAYER[there] > 1}


def test_the_stations_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        names = [name for name in imports(path, top_level_only=True) if name.startswith("modyn.")]
        if station(path) != "__init__":
            graph.setdefault(station(path), set()).update(n.split(".")[1] for n in names)
    for here, targets in graph.items():
        targets.discard(here)
    # Raises CycleError, which names the circle.
    list(graphlib.TopologicalSorter(graph).static_order())


def test_no_function_is_long_and_none_takes_many_positional_arguments() -> None:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if (node.end_lineno or 0) - node.lineno > 80:
                found.append(f"{path}:{node.lineno}: {node.name} is longer than 80 lines")
            if len(node.args.args) > 6 and "cli" not in path.parts:  # the commands' options are typer's keyword options
                found.append(f"{path}:{node.lineno}: {node.name} takes more than 6 positional arguments")
    assert not found


def test_importing_modyn_takes_little_time() -> None:
    code = "import time; before = time.process_time(); import modyn; print(time.process_time() - before)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.3


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_torch_is_imported_only_where_models_are_trained_or_run(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    if module.startswith(TORCH_HOMES):
        return
    found = {name for name in imports(path) if name.split(".")[0] in ("torch", "torchvision", "transformers")}
    assert not found, f"{module} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def test_every_folder_lies_at_most_two_deep() -> None:
    deep = [p for p in FILES if len(p.relative_to(PACKAGE).parts) > 3]
    assert not deep


def test_importing_modyn_loads_nothing_heavy() -> None:
    code = "import modyn, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_listing_every_policy_does_not_load_torch() -> None:
    code = (
        "import sys; from modyn import policy\n"
        "for role in policy.roles().values(): policy.policies(role)\n"
        "import modyn.pipeline\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported_and_is_listed_once() -> None:
    assert len(set(modyn.__all__)) == len(modyn.__all__)
    for name in modyn.__all__:
        assert getattr(modyn, name) is not None


def test_nothing_is_unpickled_evaluated_or_run_in_a_shell() -> None:
    refused = ("pickle.load", "eval(", "exec(", "os.system", "shell=True", "torch.load(", "yaml.unsafe")
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                text = ast.unparse(node)
                called = ast.unparse(node.func)
                if (
                    called in ("eval", "exec", "os.system", "torch.load", "pickle.load", "pickle.loads")
                    or "shell=True" in text
                ):
                    found.append(f"{path}: {text[:60]}")
    assert not found, refused
