"""The house stands: imports run downwards only, and what must stay light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "maskwright": ROOT / "backend" / "maskwright",
    "maskwright_label_studio": ROOT / "plugin" / "maskwright_label_studio",
}
FLOORS = {
    "annotated": 0, "errors": 0, "checks": 0, "prompts": 0, "regions": 0, "labels": 0, "settings": 0,
    "masks": 0, "images": 0,
    "models": 1, "store": 1,
    "assist": 2,
    "learn": 3, "export": 3,
    "cli": 4, "cli_answers": 4, "cli_doctor": 4, "cli_evaluate": 4, "cli_evaluate_panoptic": 4,
    "cli_evaluate_referring": 4, "cli_evaluate_semantic": 4, "cli_export": 4,
    "cli_export_report": 4, "cli_export_sources": 4,
    "cli_images": 4, "cli_import": 4, "cli_models": 4, "cli_preannotate": 4, "cli_precompute": 4,
    "cli_rounds": 4, "cli_simulate": 4,
    "cli_snapshot": 4, "cli_store": 4, "cli_suggest": 4, "cli_train": 4, "cli_train_base": 4, "cli_worker": 4,
    "doctor": 4, "server": 4, "scale": 4,
}  # fmt: skip
PLUGIN_MAY_USE = 3
MAY_NEED_TORCH = ("maskwright.models", "maskwright.learn.base", "maskwright.learn.training")


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def nearest(name: str) -> str | None:
    """The module that ``name`` lives in: names imported from a package may be modules or things in its __init__."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def imports(path: Path, *, lazy: bool) -> Iterator[str]:
    """Full names imported by a file; with ``lazy`` also inside functions, never those for type checkers only."""

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            match node:
                case ast.Import():
                    yield from (alias.name for alias in node.names)
                case ast.ImportFrom():
                    assert node.level == 0, f"{path}: relative import"
                    yield from (f"{node.module}.{alias.name}" for alias in node.names)
                case ast.If() if "TYPE_CHECKING" in ast.unparse(node.test):
                    yield from walk(node.orelse)
                case ast.FunctionDef() | ast.AsyncFunctionDef() if not lazy:
                    pass
                case _:
                    for field in ("body", "orelse", "finalbody"):
                        yield from walk(getattr(node, field, []) or [])
                    for handler in getattr(node, "handlers", []):
                        yield from walk(handler.body)

    yield from walk(ast.parse(path.read_text()).body)


def floor(module: str) -> int:
    package, _, rest = module.partition(".")
    assert package == "maskwright"
    return FLOORS[rest.split(".")[0]] if rest else 0


def test_every_room_stands_on_a_floor():
    top = {name.split(".")[1] for name in MODULES if name.startswith("maskwright.")}
    assert top <= set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards_only(module):
    for name in imports(MODULES[module], lazy=True):
        target = nearest(name)
        if target is None or target == "maskwright":
            continue
        if module.startswith("maskwright_label_studio"):
            if target.startswith("maskwright."):
                assert floor(target) <= PLUGIN_MAY_USE, f"{module} imports {target}: a platform uses floors 0 to 3"
            continue
        assert target.startswith("maskwright."), f"{module} imports the platform {target}"
        assert floor(target) <= floor(module), (
            f"{module} (floor {floor(module)}) imports {target} (floor {floor(target)})"
        )


def test_no_modules_import_each_other_in_a_circle():
    edges = {}
    for module, path in MODULES.items():
        targets = {nearest(name) for name in imports(path, lazy=False)}
        edges[module] = {t for t in targets if t and t != module and not module.startswith(f"{t}.")}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_needs_torchvision_and_only_models_and_their_training_need_torch(module):
    path = MODULES[module]
    everywhere = {name.split(".")[0] for name in imports(path, lazy=True)}
    assert "torchvision" not in everywhere
    if not module.startswith(MAY_NEED_TORCH):
        at_import = {name.split(".")[0] for name in imports(path, lazy=False)}
        assert not {"torch", "transformers"} & at_import


@pytest.mark.parametrize(
    "names",
    [
        ("maskwright",),
        tuple(m for m in MODULES if m.startswith("maskwright.") and floor(m) == 0),
        ("maskwright.cli",),
        ("maskwright.server.app", "maskwright.server.serve"),
        ("maskwright_label_studio.platform",),
    ],
    ids=["package", "ground floor", "command line", "server", "platform"],
)
def test_importing_is_cheap(names):
    program = (
        f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'transformers', 'label_studio_sdk'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
