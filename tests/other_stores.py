"""Servers of the other two stores on loopback: Google's and Azure's, by their emulators."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import filesystems

BUCKET = "photos"
# The account and key that the emulator knows and publishes: Microsoft's documentation of Azurite.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def google_store(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an empty bucket by gcp-storage-emulator; yield its address."""
    emulator = pytest.importorskip(
        "gcp_storage_emulator.server", reason="needs gcp-storage-emulator, of the extra `dev`"
    )
    # Else gcsfs asks Google for the kind of the bucket, over a protocol that no emulator speaks.
    patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    pytest.importorskip("gcsfs", reason="needs gcsfs, of the extra `gs`")
    import fsspec.config

    port = _free_port()
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    with _forgotten("gs"):
        server.start()
        try:
            yield f"gs://{BUCKET}"
        finally:
            server.stop()


@contextlib.contextmanager
def azure_store(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Serve an empty container by Azurite, which keeps what it holds in a folder; yield its
    address."""
    command = shutil.which("azurite-blob")
    if command is None:
        pytest.skip("needs Azurite: npm install --global azurite")
    pytest.importorskip("adlfs", reason="needs adlfs, of the extra `az`")
    port = _free_port()
    patch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};",
    )
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with subprocess.Popen([command, *where, *quiet], stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            with _forgotten("az"):
                filesystems.filesystem_of(f"az://{BUCKET}").mkdir(BUCKET)
                yield f"az://{BUCKET}"
        finally:
            server.terminate()


@contextlib.contextmanager
def _forgotten(scheme: str) -> Iterator[None]:
    """Have filesystems made anew for the block and after it."""
    import fsspec

    def forget() -> None:
        filesystems.forget()
        fsspec.get_filesystem_class(scheme).clear_instance_cache()

    forget()
    try:
        yield
    finally:
        forget()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nobody answers at port {port}")
