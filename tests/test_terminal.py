"""What reaches a terminal or a job's log: readable in any encoding, and never a command to it."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.errors import describe_os_error
from pipeline.files import cache_dir
from pipeline.printable import printable
from pipeline.teachers.presets import PRESETS
from tests.fakes import photos, picture
from tests.repository import REPOSITORY

WIDE = ["ascii", "latin-1", "cp437", "cp932", "cp1252"]
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clip2yolo(*words: str, charset: str = "utf-8", **env: str) -> Result:
    return CliRunner(charset=charset, env=env).invoke(main, words)


def harmless(text: str) -> bool:
    """Whether a terminal obeys nothing in a text, and GitHub's runner no line of it."""
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    return not commands and not CONTROL.search(text) and "##[" not in text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a config and photos."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", {"red": 2, "blue": 2})
    settings: dict[str, Any] = {
        "source": "photos", "workspace": "run", "teacher": "pocket",
        "ontology": {"a red box": "rouge é 日本", "a blue cup": "blue – or so"},
        "label": {"min_confidence": 0.0},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return tmp_path


@pytest.mark.parametrize("charset", WIDE)
def test_no_encoding_is_too_narrow(folder: Path, charset: str) -> None:
    (folder / "photos" / "größe – 日本.png").write_bytes(b"no picture")
    picture("red").save(folder / "photos" / "été…日本.png")
    for words in (
        ["label", "--config", "run.yaml"],
        ["status", "--config", "run.yaml"],
        ["ontology", "--config", "run.yaml"],
        ["teachers"],
        ["teachers", "--spaces"],
        ["label", "--config", "größe日本–.yaml"],
        ["classify", "photos", "--config", "run.yaml"],
        ["läbel日本"],
    ):
        done = clip2yolo(*words, charset=charset)
        assert done.exit_code in (0, 1, 2), words
        assert done.exception is None or isinstance(done.exception, SystemExit), words
        for text in (done.stdout_bytes, done.stderr_bytes):
            text.decode(charset)
    answers = clip2yolo("classify", "photos", "--config", "run.yaml", "--json", charset=charset)
    found = json.loads(answers.stdout_bytes.decode(charset))
    names = {path.name for path in (folder / "photos").iterdir()}
    assert {Path(one["image"]).name for one in found} == names


def test_our_own_signs_have_plain_ones(folder: Path) -> None:
    done = clip2yolo("teachers", charset="ascii")
    assert done.exit_code == 0
    assert re.search(r"\| pocket .*\| +- \|", done.stdout)
    assert clip2yolo("ontology", "--config", "run.yaml", charset="ascii").exit_code == 0
    named = clip2yolo("ontology", "--config", "run.yaml", charset="ascii").stdout
    assert "rouge \\xe9 \\u65e5\\u672c" in named and "blue - or so" in named


def test_a_terminal_that_knows_ascii_only() -> None:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))
    }
    env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "label", "--config", "größe–.yaml"],
        env=env | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, check=False,
    )  # fmt: skip
    said = done.stderr.decode("ascii")
    assert done.returncode == 2 and said.startswith("error: ") and "yaml: there is no" in said


def columns_of(table: str) -> list[str]:
    """What stands in each column of a table, the folded lines of its cells joined."""
    rows = [re.split("[│┃|]", line)[1:-1] for line in table.splitlines() if re.match("[│┃|]", line)]
    width = len(rows[0])
    assert all(len(row) == width for row in rows)
    return ["".join(row[number].strip() for row in rows) for number in range(width)]


@pytest.mark.parametrize("width", ["160", "80", "40", "10"])
def test_no_column_of_a_table_is_lost(folder: Path, width: str) -> None:
    assert clip2yolo("label", "--config", "run.yaml").exit_code == 0
    table = clip2yolo("status", "--config", "run.yaml", COLUMNS=width).stdout
    stage, state, finished, summary = (one.replace(" ", "") for one in columns_of(table))
    assert stage == "stagelabeldatasettrainevaluate"
    assert state == "statedonedonenotrunnotrun"
    assert re.fullmatch(r"finished\(UTC\)(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00){2}", finished)
    assert "4images:4accepted,0abstained" in summary
    if width != "10":
        lines = [line for line in table.splitlines() if line[:1] in "│┃┏┗└├"]
        assert lines and max(map(len, lines)) <= int(width)
    names = columns_of(clip2yolo("teachers", COLUMNS=width).stdout)[0]
    assert names.replace(" ", "") == "teacher" + "".join(PRESETS)


def test_brackets_and_colons_in_names_are_only_letters(folder: Path) -> None:
    text = (folder / "run.yaml").read_text("utf-8").replace("a blue cup", "a [red]cup :cat:")
    (folder / "run.yaml").write_text(text, "utf-8")
    shown = clip2yolo("ontology", "--config", "run.yaml")
    assert "a [red]cup :cat:" in shown.stdout


NASTY = [
    "::warning::x", "\x1b[31mred", "a\n::error::b", "a\r::c", "\u202egnp", "\u2066a", "\x9b2J",
    "##[error]d", "a\u2028::b", "\udcff\udc80", "  ::set-output name=a::b", "##vso[x]",
]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be on Windows")
def test_names_of_files_give_no_orders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder / "photos"
    for number, name in enumerate(NASTY):
        picture("red", number).save(images / f"good {number}.png")
        (images / f"good {number}.png").rename(images / f"{name}.png")
        (images / f"{name} bad.png").write_bytes(b"no picture")
    monkeypatch.chdir(images)  # so that the names are first in their lines
    config = ("--config", "../run.yaml")
    names = sorted(path.name for path in images.iterdir())
    for words in (
        ["classify", *names, *config],
        ["classify", *names, "-p", "a\n::error::b", "-p", "\x1b[1m", "--teacher", "pocket"],
        ["label", "--verbose", *config],
        ["status", *config],
        ["ontology", *config],
        ["watch", *NASTY[:1], *config],
    ):
        done = clip2yolo(*words)
        assert done.exception is None or isinstance(done.exception, SystemExit), words
        assert harmless(done.stdout) and harmless(done.stderr), words
    found = json.loads(clip2yolo("classify", *names, *config, "--json").stdout)
    assert [one["image"] for one in found] == names
    shown = clip2yolo("classify", "::warning::x.png", *config).stdout
    assert shown.startswith("\\x3a:warning::x.png\n")


@pytest.mark.parametrize("name", [name for name in NASTY if "\x00" not in name])
def test_mistakes_give_no_orders(folder: Path, name: str) -> None:
    for words in (
        [name],
        ["label", name],
        ["label", f"--{name}"],
        ["label", "--precision", name],
        ["label", "--config", name],
        ["label", "--config", f"{name}.yaml"],
        ["init", "--images", name, "--classes", "a,b"],
        ["cache", "--down-to", name],
        ["classify", name, "--student", name],
    ):
        done = clip2yolo(*words)
        assert done.exit_code == 2 or words[0] in ("init", "classify"), words
        assert harmless(done.stdout) and harmless(done.stderr), (words, done.stderr)
    bad = {"source": "x", name: 1, "ontology": {name: 1}}
    (folder / "bad.yaml").write_text(yaml.safe_dump(bad))
    done = clip2yolo("label", "--config", "bad.yaml")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) <= 2 and harmless(done.stderr)


def test_lines_of_the_libraries_logs_give_no_orders(folder: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        shown = CliRunner().invoke(main, ["label", "--verbose", "--config", "run.yaml"])
        assert shown.exit_code == 0
        stream = root.handlers[-1]
        record = logging.LogRecord("a", logging.INFO, "", 1, "%s", ("x\n::error::\x1b[1m",), None)
        assert stream.format(record) == "INFO:a:x\\n::error::\\x1b[1m"
    finally:
        root.handlers[:] = before
        root.setLevel(level)


@given(st.text(st.characters(exclude_categories=[]) | st.sampled_from(":# \n\x1b\u202e[vso")))
def test_any_text_is_made_harmless_once(text: str) -> None:
    shown = printable(text)
    assert harmless(shown) and "\n" not in shown
    assert printable(shown) == shown
    if "\n" not in text and harmless(text) and "##vso[" not in text:
        assert shown == text


@pytest.mark.skipif(os.name == "nt", reason="needs HOME")
def test_a_cache_that_cannot_be_written_names_its_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("no folder")
    monkeypatch.delenv("CLIP2YOLO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(folder / "file"))
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "label", "--config", "run.yaml", "--quiet"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, cwd=folder, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0 and "Traceback" not in ran.stderr, ran.stderr
    assert "CLIP2YOLO_CACHE" in ran.stderr and f"{folder / 'file'}" in ran.stderr
    for path in (cache_dir(), cache_dir() / "weights" / "a.pt", cache_dir().parent):
        full = describe_os_error(OSError(errno.ENOSPC, "full", str(path)))
        assert full.startswith(f"{path}: the disk is full") and "`CLIP2YOLO_CACHE`" in full
    elsewhere = describe_os_error(OSError(errno.ENOSPC, "full", str(folder / "run" / "x")))
    assert "CLIP2YOLO_CACHE" not in elsewhere
    done = clip2yolo("cache", CLIP2YOLO_CACHE="~nobody-here/cache")
    assert done.exit_code == 2 and "~nobody-here/cache begins with a home folder" in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
def test_somebody_without_a_home_is_told_where_to_put_the_cache() -> None:
    # Everything is imported first: that user may not be allowed to read it.
    code = (
        "import os, sys, pipeline.terminal, pipeline.teachers.cache, pipeline.dataset.nearby\n"
        "from pipeline.cli import main\n"
        "os.setuid(54321)\nsys.argv = ['clip2yolo', 'cache']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=False, capture_output=True, text=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 2 and "Set `CLIP2YOLO_CACHE`" in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_waiting_for_the_hub_is_said(folder: Path) -> None:
    known = folder / "home" / "hub" / "models--some--body"
    weights = known / "snapshots" / "abc" / "open_clip_model.safetensors"
    weights.parent.mkdir(parents=True)
    (known / "refs").mkdir()
    (known / "refs" / "main").write_text("abc")
    # In a process of its own: the hub's library reads its settings when it is imported.
    code = (
        "from pathlib import Path\nfrom click.testing import CliRunner\n"
        "from pipeline.cli import main\n"
        "words = 'classify photos/red_000.png -p a -p b -t hf-hub:some/body'.split()\n"
        "print(CliRunner().invoke(main, words).output)\n"
        f"Path({str(weights)!r}).write_bytes(b'damaged')\n"
        "print('Then:', CliRunner().invoke(main, words).output)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1",
                          "HF_HOME": str(folder / "home")},
    )  # fmt: skip
    fetched, here = done.stdout.split("Then: ")
    assert fetched.startswith("Fetching some/body from the Hugging Face hub.\nerror: ")
    assert here.startswith("error: ")


def no_room() -> None:
    """What a full disk looks like: writing beyond the first bytes of a file fails."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_what_could_not_be_written_or_read_is_named(folder: Path) -> None:
    words = ["init", "--images", "photos", "--classes", "a,b", "-o", "new.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *words], cwd=folder, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, preexec_fn=no_room,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("error: new.yaml: ")
    assert not (folder / "new.yaml").exists()
    if Path("/proc/self/mem").exists():  # a file that opens and cannot be read
        done = clip2yolo("label", "--config", "/proc/self/mem")
        assert done.exit_code == 2 and "read. /proc/self/mem: " in done.stderr
