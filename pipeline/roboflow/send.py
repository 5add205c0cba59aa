"""The labeled dataset of a run onto Roboflow: every image once, with its class and split."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.dataset.export import file_name, place_image
from pipeline.errors import SourceError, UploadError
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.pool import work_ahead
from pipeline.roboflow.client import RoboflowProject
from pipeline.roboflow.ledger import Entry, Ledger
from pipeline.roboflow.patience import Refused
from pipeline.roboflow.plan import Item
from pipeline.roboflow.wire import quietly

# Images sent beyond one that waits for its next try, which may take minutes: it holds nobody up.
_AHEAD = 4096


def upload(
    items: Sequence[Item],
    project: RoboflowProject,
    ledger: Ledger,
    batch: str,
    *,
    relabel: bool = False,
    connections: int = 8,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Send what the ledger does not know to be there, several at a time.

    Args:
        items: what shall be there.
        project: opened.
        ledger: of this project.
        batch: name under which Roboflow groups what is sent.
        relabel: replace labels that were sent earlier and are others now, whatever became of them
            there in the meantime.
        connections: images under way at a time.
        max_pixels: for formats that are sent as PNG.
        progress: told after each image.

    Returns:
        What became of all items: counts, and the images that need a person (`refused`,
        `annotated`, `unreadable`, `changed`), each as [path, reason].

    Raises:
        UploadError: Roboflow cannot be reached any more.
    """
    open_items = [item for item in items if not is_done(item, ledger, relabel)]
    done = len(items) - len(open_items)
    progress(done, len(items))
    unreadable: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="clip2yolo-upload-") as folder, quietly():

        def send(item: Item) -> tuple[str, str] | None:
            try:
                _send(item, project, ledger, batch, relabel, Path(folder), max_pixels)
            except SourceError as error:
                return item.path, str(error)
            return None

        sent = work_ahead(send, open_items, workers=connections, ahead=_AHEAD, name="upload")
        with contextlib.closing(sent) as problems:
            for problem in problems:
                if problem is not None:
                    unreadable.append(problem)
                done += 1
                progress(done, len(items))
    return summary(items, ledger, unreadable)


def is_done(item: Item, ledger: Ledger, relabel: bool = False) -> bool:
    """Say whether nothing of an image is left to send."""
    entry = ledger.entries.get(item.id)
    if entry is None or entry.state == "refused":
        return False  # what was refused once may be welcome after a change there
    if item.name is None or entry.state == "annotated":
        return entry.state != "sent"  # for the label that it was to have
    # Sent without a label, an image is not done once it has one here.
    labeled = entry.state == "done" and entry.name is not None
    return labeled and (entry.name == item.name or not relabel)


def _send(
    item: Item,
    project: RoboflowProject,
    ledger: Ledger,
    batch: str,
    relabel: bool,
    folder: Path,
    max_pixels: int,
) -> None:
    entry = ledger.entries.get(item.id)
    try:
        if entry is None or entry.image is None:
            file = folder / file_name(item.path, item.id)
            place_image(item.path, file, max_pixels, item.id)
            try:
                image, was_there = project.upload(
                    file, item.split, batch, list(item.tags), item.metadata
                )
            finally:
                file.unlink(missing_ok=True)
            state = "done" if item.name is None else "sent"
            entry = Entry(item.id, state, image, None, item.split, was_there)
            ledger.write(entry)
        if item.name is None:
            if entry.state != "done":  # the label that it was to have is not wanted any more
                ledger.write(replace(entry, state="done", name=None, reason=None))
        else:
            assert entry.image is not None
            # Only a label that arrived is ours to replace: where one was refused, somebody else may
            # have labeled since.
            replaces = relabel and entry.name is not None and entry.state == "done"
            fresh = project.annotate(entry.image, item.name, batch, overwrite=replaces)
            # After a cut connection our own label may be what was there already.
            ours = fresh or (entry.state == "sent" and not entry.was_there)
            state = "done" if ours else "annotated"
            ledger.write(replace(entry, state=state, name=item.name, reason=None))
    except Refused as error:
        image_id = None if entry is None else entry.image
        was_there = entry is not None and entry.was_there
        ledger.write(
            Entry(item.id, "refused", image_id, item.name, item.split, was_there, str(error))
        )


def summary(
    items: Sequence[Item], ledger: Ledger, unreadable: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return what the ledger knows of the items."""
    known = [(item, ledger.entries.get(item.id)) for item in items]
    states = Counter(entry.state for _, entry in known if entry is not None)
    return {
        "images": len(items),
        "there": states["done"] + states["annotated"],
        "were_there": sum(entry.was_there for _, entry in known if entry is not None),
        "annotated": [
            [item.path, "Somebody labeled it on Roboflow; that label stays."]
            for item, entry in known
            if entry is not None and entry.state == "annotated"
        ],
        "refused": [
            [item.path, entry.reason]
            for item, entry in known
            if entry is not None and entry.state == "refused"
        ],
        "unreadable": [list(one) for one in unreadable],
        "changed": [
            [
                item.path,
                f"It was sent as {entry.name!r} and is {item.name or 'undecided'!r} now; "
                "`--relabel` replaces labels.",
            ]
            for item, entry in known
            if entry is not None and entry.state == "done" and entry.name != item.name
        ],
    }


def raise_unless_there(found: dict[str, Any]) -> None:
    """Raise an `UploadError` unless every image is on Roboflow."""
    missing = found["images"] - found["there"]
    if missing:
        named = [f"{path}: {why}" for path, why in [*found["refused"], *found["unreadable"]][:5]]
        raise UploadError(
            f"{missing} of {found['images']} images are not on Roboflow.",
            *(f"  {one}" for one in named),
            "Run the same command again to send what is missing.",
        )
