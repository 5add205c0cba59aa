"""How much of what is altered in the code do the tests notice?

    python -m tests.mutations --count 200 --seed 1

draws places in the modules that decide something, alters one at a time (a comparison, a constant, a
sign, a condition, a forgotten argument …), runs the tests that pass through that line, and prints
which alterations no test noticed and the share that one did. It is a tool, not a test, and CI does
not run it: the first run takes the suite's time three times over to learn which test passes where,
every alteration some seconds. The working tree stays as it is. Needs `pip install coverage`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What only words, shows or starts: a person sees what is wrong there, no decision hangs on it.
LEFT_OUT = {"__init__", "__main__", "errors", "terminal", "listener", "starter", "presets", "curve",
            "report", "markdown", "wording"}  # fmt: skip
SWAPS: dict[type, str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.And: "or", ast.Or: "and",
}  # fmt: skip
SILENT_CALLS = {"say", "warn", "debug", "info", "warning", "progress"}
MOST = 120.0  # seconds of tests for one alteration


@dataclass(frozen=True)
class Mutation:
    """One place in a file and what stands there instead."""

    file: str
    line: int
    start: int  # bytes
    end: int
    after: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


class Places(ast.NodeVisitor):
    """Collects every alteration of a file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source = file, source
        self.offsets = [0]
        for line in source.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.found: list[Mutation] = []
        self.visit(ast.parse(source))

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def span(self, node: Any) -> tuple[int, int]:
        start = self.offsets[node.lineno - 1] + node.col_offset
        return start, self.offsets[node.end_lineno - 1] + node.end_col_offset

    def add(self, node: Any, after: str) -> None:
        self.found.append(Mutation(self.file, node.lineno, *self.span(node), after))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)):
            return  # words, and what a checker of types finds
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        getattr(self, f"at_{type(node).__name__}", lambda node: None)(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)

    def at_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            sign = SWAPS[type(node.ops[0])]
            self.add(node, f"({self.text(node.left)} {sign} {self.text(node.comparators[0])})")

    def at_BinOp(self, node: ast.BinOp) -> None:
        if sign := SWAPS.get(type(node.op)):
            self.add(node, f"({self.text(node.left)} {sign} {self.text(node.right)})")

    def at_BoolOp(self, node: ast.BoolOp) -> None:
        sign = f" {SWAPS[type(node.op)]} "
        self.add(node, f"({sign.join(f'({self.text(one)})' for one in node.values)})")

    def at_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.add(node, f"({self.text(node.operand)})")

    def at_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, str(not value))
        elif isinstance(value, int):
            self.add(node, str(value + 1))
        elif isinstance(value, float):
            self.add(node, str(value * 1.5 or 1.0))

    def at_If(self, node: ast.If | ast.IfExp) -> None:
        self.add(node.test, f"(not ({self.text(node.test)}))")

    at_IfExp = at_If

    def at_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self.add(bound, "")

    def at_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
            self.add(node.func, {"min": "max", "max": "min"}[node.func.id])
        for keyword in node.keywords:
            if keyword.arg is not None:
                start, end = self.span(keyword)
                comma = self.source[end : end + 1] == b","
                self.found.append(Mutation(self.file, keyword.lineno, start, end + comma, ""))
        if len(node.args) == 2 and not any(isinstance(one, ast.Starred) for one in node.args):
            first, second = node.args
            start, end = self.span(first)[0], self.span(second)[1]
            swapped = f"{self.text(second)}, {self.text(first)}"
            self.found.append(Mutation(self.file, node.lineno, start, end, swapped))

    def at_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") not in SILENT_CALLS:
            self.add(node, "pass")

    def at_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")


def draw(count: int, seed: int) -> list[Mutation]:
    """Return so many alterations, spread over the modules by how much there is to alter."""
    places: list[Mutation] = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        inner = path.relative_to(ROOT / "pipeline").parts
        if path.stem not in LEFT_OUT and inner[0] != "cli":
            source = path.read_bytes()
            file = path.relative_to(ROOT).as_posix()
            for place in Places(file, source).found:
                try:  # what is no Python any more would be noticed by anybody
                    compile(place.apply(source), file, "exec")
                except SyntaxError:
                    continue
                places.append(place)
    random.Random(seed).shuffle(places)
    return places[:count]


class Contexts:
    """A plugin of pytest that tells coverage which test is running, and for how long it ran."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage
        self.seconds: dict[str, float] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self.coverage.switch_context(f"{item.nodeid}|setup")

    def pytest_runtest_call(self, item: Any) -> None:
        self.coverage.switch_context(f"{item.nodeid}|call")

    def pytest_runtest_logreport(self, report: Any) -> None:
        known = self.seconds.get(report.nodeid, 0.0)
        self.seconds[report.nodeid] = known + report.duration


def learn(place: Path) -> dict[str, Any]:
    """Run the suite once; return which tests pass through each line, and how long each takes."""
    if place.is_file():
        return json.loads(place.read_text())  # type: ignore[no-any-return]
    import coverage
    import pytest

    measured = coverage.Coverage(data_file=None, source=[str(ROOT / "pipeline")])
    contexts = Contexts(measured)
    measured.start()
    pytest.main(["-q", "-m", "not slow", "-p", "no:cacheprovider", "tests"], [contexts])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[str, list[str]]] = {}
    for name in data.measured_files():
        file = Path(name).relative_to(ROOT).as_posix()
        lines[file] = {str(k): v for k, v in data.contexts_by_lineno(name).items()}
    found = {"lines": lines, "seconds": contexts.seconds}
    place.write_text(json.dumps(found))
    return found


def tests_for(mutation: Mutation, known: dict[str, Any]) -> list[str]:
    """The tests that pass through the line, whole files together, the quick ones first."""
    seconds: dict[str, float] = known["seconds"]
    chosen: set[str] = set()
    for context in known["lines"].get(mutation.file, {}).get(str(mutation.line), []):
        test, _, phase = context.partition("|")
        if phase == "setup":  # of a fixture, perhaps, on which the whole file relies
            chosen |= {one for one in seconds if one.split("::")[0] == test.split("::")[0]}
        elif test:
            chosen.add(test)
    if not chosen:  # run at import, or in another process: whoever speaks of the module
        module = Path(mutation.file).with_suffix("").as_posix().replace("/", ".")
        files = {one.split("::")[0] for one in seconds}
        speak = {one for one in files if module in (ROOT / one).read_text("utf-8")}
        chosen = {one for one in seconds if one.split("::")[0] in speak}
    by_file: dict[str, list[str]] = {}
    for test in seconds:  # in the order in which they ran
        if test in chosen:
            by_file.setdefault(test.split("::")[0], []).append(test)
    ordered = sorted(by_file.values(), key=lambda tests: sum(seconds[one] for one in tests))
    taken, total = [], 0.0
    for test in (one for tests in ordered for one in tests):
        total += seconds[test]
        if taken and total > MOST:
            break
        taken.append(test)
    return taken


def is_noticed(mutation: Mutation, tests: list[str], copy: Path) -> bool:
    """Run tests on a copy of the tree that holds the alteration."""
    if not tests:
        return False
    file = copy / mutation.file
    source = file.read_bytes()
    file.write_bytes(mutation.apply(source))
    child = os.fork()  # with the heavy libraries loaded
    if child == 0:
        os.setsid()
        os.chdir(copy)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1), os.dup2(sink, 2)
        sys.path[:0] = [str(copy), str(copy / "datasets")]
        os.environ["PYTHONPATH"] = f"{copy}:{copy / 'datasets'}"
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + 60 + 4 * MOST
    status = None
    while status is None and time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.02)
    if status is None:  # it runs for ever: that would be noticed
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    file.write_bytes(source)
    return status != 0


def copies(folder: Path, count: int) -> Iterator[Path]:
    """Copies of the tree, without what is not tracked."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")
    for number in range(count):
        copy = folder / str(number)
        for name in filter(None, listed):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
        yield copy


def main() -> None:
    """Draw, alter, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    os.environ.setdefault("CLIP2YOLO_SHARED", str(ROOT.parent / "shared"))
    sources = sorted([*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"clip2yolo-mutations-{digest}.json"
    if not place.is_file():  # in a process of its own, which this one must not inherit torch from
        words = "from pathlib import Path; from tests.mutations import learn; import sys"
        script = f"{words}; learn(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", script, str(place)], cwd=ROOT, check=True)
    known = learn(place)
    import open_clip  # noqa: F401 - loaded once, for all children
    import polars  # noqa: F401
    import scipy.stats  # noqa: F401
    import transformers  # noqa: F401

    mutations = draw(asked.count, asked.seed)
    survivors: list[Mutation] = []
    with tempfile.TemporaryDirectory(prefix="clip2yolo-mutations-") as folder:
        free = list(copies(Path(folder), asked.jobs))

        def work(mutation: Mutation) -> bool:
            copy = free.pop()
            try:
                return is_noticed(mutation, tests_for(mutation, known), copy)
            finally:
                free.append(copy)

        with ThreadPoolExecutor(asked.jobs) as pool:
            for number, (mutation, noticed) in enumerate(
                zip(mutations, pool.map(work, mutations), strict=True), start=1
            ):
                if not noticed:
                    survivors.append(mutation)
                    before = (ROOT / mutation.file).read_bytes()[mutation.start : mutation.end]
                    old, new = " ".join(before.decode().split()), " ".join(mutation.after.split())
                    print(f"{mutation.file}:{mutation.line}: {old!r} -> {new!r}", flush=True)
                print(f"  {number}/{len(mutations)}, {len(survivors)} not noticed", file=sys.stderr)
    caught = len(mutations) - len(survivors)
    print(f"{caught} of {len(mutations)} noticed: {caught / len(mutations):.1%}")


if __name__ == "__main__":
    main()
