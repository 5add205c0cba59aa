"""The one place that knows Ray: a cluster that is there, or one of this machine alone, and tables
that stream through it.

Ray Data schedules, holds back what runs too far ahead, and does again what was lost with a worker
or a machine. Nothing here repeats or queues anything.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from pipeline.errors import ConfigError, TeacherError
from pipeline.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_ANSWERS_WITHIN = 10.0  # seconds
_ITEMS = 4  # handed to a worker together
_MAKING = 2  # processes that make tables
# What Ray reads when it is imported. It shall not phone home, nor fill the terminal.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",  # else whatever else is done on the machine comes first
}


@dataclass(frozen=True)
class Step:
    """What is done with each table of a stream.

    A function runs as tasks; a class is made once in each of so many workers, and its instances
    are called. Either takes an Arrow table and returns one. Neighbouring steps that ask for the
    same resources run in one process.
    """

    work: Callable[[Any], Any] | type
    given: dict[str, Any] = field(default_factory=dict)  # to a class, when it is made
    workers: int | None = None  # of a class, at most
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    cpus: int
    gpus: int
    elsewhere: bool  # whether some of it is not on this machine


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Resources]:
    """Hold a connection to the cluster at an address, or to one of this machine's own that ends
    with the block. Where this process is connected already, that is used, and left as it is.

    Raises:
        ConfigError: Ray is not installed.
        TeacherError: there is no cluster at the address.
    """
    ray = _library()
    ours = not ray.is_initialized()
    if ours:
        where: dict[str, Any] = {"address": address}
        if address is not None:
            _knock(address)
        else:
            where = {"address": "local", "num_cpus": cores(), "include_dashboard": False}
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise TeacherError(
                f"There is no Ray cluster at {address!r} ({type(error).__name__}). Correct "
                "`label.address`, or leave it out to use this machine alone."
                if address is not None
                else f"Ray does not start on this machine ({type(error).__name__})."
            ) from error
    try:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield _resources(ray)
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Refuse a host and port that nobody answers at, for which Ray itself would wait minutes.

    Raises:
        TeacherError: nobody answers.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, or a name of Ray's own
    try:
        socket.create_connection((host, int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise TeacherError(
            f"There is no Ray cluster at {address!r} ({type(error).__name__}). Correct "
            "`label.address`, or leave it out to use this machine alone."
        ) from error


def check_installed() -> None:
    """Refuse to go on without Ray, before anything is read.

    Raises:
        ConfigError: it is not installed.
    """
    _library()


def stream(
    tables: Sequence[Callable[[], Any]], steps: Sequence[Step]
) -> Generator[Any, None, None]:
    """Send Arrow tables through steps; yield what comes out, whichever is first. Call it while
    connected; closing it ends the work.

    Args:
        tables: what makes each of them. It is called on this machine, in another process, when the
            table's turn has come: no more of them are in memory than the cluster works on.
        steps: what is done with each.

    Raises:
        TeacherError: a step has failed where doing it again does not help.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None  # a table stays one
    data = _made_here(tables)
    for step in steps:
        more: dict[str, Any] = {}
        if isinstance(step.work, type):
            more["compute"] = _pool(ray, step.workers)
            more["fn_constructor_kwargs"] = step.given
        if step.gpus:
            more["num_gpus"] = step.gpus
        data = data.map_batches(
            step.work,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=step.cpus,
            **more,
        )
    with _in_words(ray):
        yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _pool(ray: Any, workers: int | None) -> Any:
    """So many actors at once, or as many of them as there is room for."""
    pool = ray.data.ActorPoolStrategy
    # Earlier versions begin with one, and add the others one by one.
    known = workers is not None and "initial_size" in inspect.signature(pool).parameters
    return pool(min_size=1, max_size=workers, **({"initial_size": workers} if known else {}))


def _made_here(tables: Sequence[Callable[[], Any]]) -> Any:
    """A dataset with a block for each table."""
    import ray
    import ray.util.client
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    if ray.util.client.ray.is_connected():  # nothing of the cluster runs on this machine
        return ray.data.from_blocks([made() for made in tables])

    class Tables(Datasource):  # type: ignore[misc]
        supports_distributed_reads = False

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            about = BlockMetadata(**{one.name: None for one in fields(BlockMetadata)})
            return [ReadTask(partial(_one, made), about) for made in tables]

    # Also where this machine is to do no work of the cluster. Ray 2.64 ends one way to say so, and
    # earlier versions do not know the other.
    free: dict[str, Any] = {"num_cpus": 0}
    named = "num_cpus" in inspect.signature(ray.data.read_datasource).parameters
    return ray.data.read_datasource(
        Tables(),
        override_num_blocks=len(tables),  # none is divided
        concurrency=_MAKING,
        **(free if named else {"ray_remote_args": free}),
    )


def _one(made: Callable[[], Any]) -> list[Any]:
    return [made()]


def mapped(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in their order, worked on all over the cluster. Call it
    while connected.

    Raises:
        TeacherError: as `stream`.
    """
    import ray

    if not items:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"number": number, "item": item} for number, item in enumerate(items)]
    blocks = max(1, -(-len(rows) // _ITEMS))

    def done(row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "result": (work(row["item"]),)}

    data = ray.data.from_items(rows, override_num_blocks=blocks).map(done)
    early: dict[int, Result] = {}
    wanted = 0
    with _in_words(ray):
        for row in data.iter_rows():
            early[row["number"]] = row["result"][0]
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1


@contextlib.contextmanager
def _in_words(ray: Any) -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise TeacherError(
            f"The work on the cluster has failed ({type(cause).__name__}: "
            f"{' '.join(str(cause).split())[:200]}). What is finished is kept: run the same "
            "command again."
        ) from error


def _resources(ray: Any) -> Resources:
    total = ray.cluster_resources()
    names = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    return Resources(
        max(1, int(total.get("CPU", 1))), int(total.get("GPU", 0)), names != {socket.gethostname()}
    )


def _library() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError(
            "`label.engine: ray` needs Ray. Install it with `pip install 'clip2yolo[ray]'`, here "
            "and on the machines of the cluster."
        ) from None
    return ray
