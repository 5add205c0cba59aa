"""Files are known by what they hold, and read again only when something has touched them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from pipeline.files import cache_dir, hashes_of, sha256_of
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


def test_a_large_file_is_hashed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    content = bytes(range(256)) * 10_001  # a few pieces, the last one not whole
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
    assert hashes_of([path]) == [sha256_of(path)]
    path.write_bytes(b"")
    assert sha256_of(path) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("later", [1, 10**9, -(10**9)])
def test_another_time_is_noticed_at_the_same_size(tmp_path: Path, later: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    before = hashes_of([path])
    path.write_bytes(b"two")
    os.utime(path, ns=(10**18, 10**18 + later))
    if path.stat().st_mtime_ns == 10**18:
        pytest.skip("this file system's clock is coarser")
    after = hashes_of([path])
    assert after == [sha256(path)] != before
    # And it is the new content that is remembered from then on.
    path.write_bytes(b"six")
    os.utime(path, ns=(10**18, 10**18 + later))
    assert hashes_of([path]) == after


def test_another_size_is_noticed_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"three", b"", b"x"):
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))
        assert hashes_of([path]) == [hashlib.sha256(content).hexdigest()]


def test_a_time_yet_to_come_is_never_believed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    ahead = time.time_ns() + 3600 * 10**9
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(ahead, ahead))
        assert hashes_of([path]) == [hashlib.sha256(content).hexdigest()]


def test_files_of_one_name_are_told_apart_and_come_in_the_order_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / folder / "a" for folder in ("x", "y")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
        os.utime(path, ns=(10**18, 10**18))
    wanted = [sha256(path) for path in paths]
    for _ in range(2):
        assert hashes_of(paths) == wanted and hashes_of(paths[::-1]) == wanted[::-1]
        assert hashes_of([paths[1]] * 2) == [wanted[1]] * 2
    # A relative path means another file in another folder.
    for path, digest in zip(paths, wanted, strict=True):
        monkeypatch.chdir(path.parent)
        assert hashes_of([Path("a")]) == [digest]


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hashes_of([tmp_path / "missing"])
