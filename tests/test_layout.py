"""The plan of the house: who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.repository import REPOSITORY

PACKAGE = REPOSITORY / "pipeline"

# From left to right: a file imports from its own room or from one to the left of it.
ROOMS = (
    (
        "printable",
        "errors",
        "machine",
        "imports",
        "files",
        "storage",
        "pixels",
        "records",
        "shares",
        "listener",
        "terminal",
        "pool",
        "streams",
        "keys",
        "network",
        "cluster",
    ),
    ("values", "yaml_text", "complaints", "config", "class_names", "ontology", "starter"),
    ("run",),
    ("images",),
    ("yolo",),
    ("teachers",),
    ("spaces",),
    ("labels",),
    ("dataset",),
    ("student",),
    ("export",),
    ("evaluation",),
    ("review",),
    ("roboflow",),
    ("classify", "compare", "timeline", "autodistill", "stages", "sample"),
    ("cli",),
)
ORDER = {name: number for number, names in enumerate(ROOMS) for name in names}

# A library that only one place knows: whoever else wants it asks there.
KEEPERS = {
    "ultralytics": ("yolo/", "student/", "export/graph.py"),
    **dict.fromkeys(
        ("onnx", "onnxruntime", "openvino", "tensorrt", "ncnn", "pnnx", "coremltools"),
        ("export/formats/", "export/predict.py"),
    ),
    **dict.fromkeys(
        ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
        ("export/formats/litert.py", "export/predict.py"),
    ),
    "roboflow": ("roboflow/",),
    "open_clip": ("teachers/library.py",),
    "timm": ("spaces/timm.py",),
    "transformers": ("teachers/transformers.py", "spaces/transformers.py"),
    "autodistill": ("teachers/autodistill.py", "autodistill/"),
    "av": ("images/video.py", "sample/film.py"),
    "pi_heif": ("pixels/formats.py", "export/predict.py"),
    "simplejpeg": ("pixels/jpeg.py",),
    "fsspec": ("storage/filesystems.py",),
    "ray": ("cluster.py",),
    "pyarrow": ("storage/tables.py",),
    "click": ("cli/",),
    "starlette": ("review/server.py",),
    "uvicorn": ("review/opening.py",),
    "rich": ("terminal.py",),
}


def imports() -> Iterator[tuple[str, str]]:
    """Every import in the package: the file, below the package, and the module it names."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively"
                base = node.module or ""
                names = [f"{base}.{alias.name}" for alias in node.names]
                yield from ((file, name) for name in (names if base == "pipeline" else [base]))
            elif isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)


def room(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def test_every_file_belongs_to_a_room() -> None:
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert {room(file) for file in files} - {"__init__"} == set(ORDER)


def test_nobody_imports_from_the_right() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        if module.startswith("pipeline.") and module != "pipeline.__version__"
        if ORDER[module.split(".")[1]] > ORDER.get(room(file), -1)
    ]
    assert wrong == []


def test_each_library_has_its_keepers() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        if (places := KEEPERS.get(module.split(".")[0])) and not file.startswith(places)
    ]
    assert wrong == []


def test_only_the_command_line_prints() -> None:
    allowed = ("cli/", "terminal.py", "export/predict.py")  # a script that is handed on
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
        ]
        assert not calls or file.startswith(allowed), f"{file}:{calls}"


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.stages", "pipeline.config"])
def test_imports_load_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ultralytics", "open_clip", "transformers", "roboflow", "scipy", "matplotlib")
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=60,
    ).stdout.split()  # fmt: skip
    assert module in found and not set(heavy) & set(found)
