"""Files are known by what they hold, and read again only when something has touched them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pipeline.files import cache_dir, hashes_of
from tests.fakes import sha256


def test_only_content_counts_and_is_remembered(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "ä"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    old = time.time() - 100
    for path in (first, second):
        os.utime(path, (old, old))
    wanted = [sha256(first), sha256(second)]
    assert hashes_of([first, second]) == wanted == hashes_of([first, second])
    os.utime(first, (old + 5, old + 5))  # a fresh checkout
    assert hashes_of([first, second]) == wanted
    # Of what is known by size and time not a byte is read.
    second.write_bytes(b"TWO")
    os.utime(second, (old, old))
    assert hashes_of([second]) == wanted[1:]
    second.write_bytes(b"three")
    assert hashes_of([second]) == [sha256(second)]


def test_a_file_written_just_now_is_not_believed_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    state = path.stat()
    hashes_of([path])
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hashes_of([path]) == [sha256(path)]


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    for text in ("{", "[1]", json.dumps({str(path): "x"}), json.dumps({str(path): [1, 2, 3]})):
        (cache_dir() / "contents.json").parent.mkdir(parents=True, exist_ok=True)
        (cache_dir() / "contents.json").write_text(text)
        assert hashes_of([path]) == [sha256(path)]


def test_where_nothing_can_be_kept_files_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    cache_dir().rmdir()
    cache_dir().write_text("a file where the folder should be")
    assert hashes_of([path]) == [sha256(path)]
