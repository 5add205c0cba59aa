"""The exported dataset as the student reads it, through the same decoder as the teacher."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import SourceError, StudentError
from pipeline.pixels import image_suffixes, read_rgb
from pipeline.records import SPLITS
from pipeline.storage.address import Place, is_file_place
from pipeline.storage.reading import read_each

# Decoded pictures are kept in memory up to this many bytes, shared by both splits: decoding big
# photos again in every epoch would take longer than training on them.
_KEEP_BYTES = 512 << 20
_FAR = 1 << 31  # epochs; no training has as many


class FolderImages:
    """The images of one split, as ultralytics' trainer expects a dataset.

    ultralytics' own class is not used (8.4.190): it reads with other decoders than the teacher,
    writes cache files beside the dataset, repairs damaged JPEGs in place (ours are links to a
    person's photos) and numbers the classes by the folders that it finds.

    Args:
        samples: (place, class index) pairs: files, objects, or what lies in shards.
        transforms: from an RGB image to a float32 tensor (3, H, W).
        max_pixels: larger images are refused.
        seed: of what the transforms draw by chance.
        targets: what is learned in the place of the class index, (samples, classes) float32.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Place, int]],
        transforms: Callable[[Image.Image], Any],
        max_pixels: int,
        seed: int = 0,
        targets: np.ndarray | None = None,
    ) -> None:
        self.samples = list(samples)
        self._targets = targets
        self.torch_transforms = transforms
        self._max_pixels, self._seed = max_pixels, seed
        self._kept: dict[int, Image.Image] = {}
        self._room = _KEEP_BYTES // 2

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return an image as it is seen in an epoch: `number` is epoch * len + row.

        Chance depends on the epoch and the image alone, so that a training that was killed goes on
        with the pictures that it would have seen, however many processes prepare them.
        """
        return self._seen(number, None)

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return a batch of images as `__getitem__` does. What lies in a store is fetched side by
        side; of a shard only the images' own bytes are read."""
        rows = {number % len(self.samples) for number in numbers} - self._kept.keys()
        away = [row for row in sorted(rows) if not is_file_place(self.samples[row][0])]
        data = dict(zip(away, read_each([str(self.samples[row][0]) for row in away]), strict=True))
        return [self._seen(number, data.get(number % len(self.samples))) for number in numbers]

    def _seen(self, number: int, data: bytes | Exception | None) -> dict[str, Any]:
        """An image in an epoch; `data` are its bytes, where they were read."""
        epoch, row = divmod(number, len(self.samples))
        path, index = self.samples[row]
        image = self._kept.get(row)
        if image is None:
            try:
                # What could not be fetched is asked for once more, to say in words why.
                source = data if isinstance(data, bytes) else path
                image = read_rgb(source, self._max_pixels)
            except SourceError as error:
                raise SourceError(
                    f"{path} cannot be trained on. {error} Run `clip2yolo label` again."
                ) from error
            size = image.width * image.height * 3
            if size <= self._room:
                self._kept[row] = image
                self._room -= size
        with seeded(self._seed, epoch, row):
            shown = self.torch_transforms(image)
        if self._targets is None:
            return {"img": shown, "cls": index}
        return {"img": shown, "cls": self._targets[row], "row": row}


class EpochOrder:
    """The rows of a dataset in the order in which the next epoch sees them, as the numbers that
    `FolderImages` takes. Every iteration is an epoch.

    Args:
        rows: how many there are.
        seed: of the order.
        epoch: the first one, from 0.
        draws: how often each row is seen in an epoch, on average, (rows,); they sum to `rows`. By
            default once.
    """

    def __init__(self, rows: int, seed: int, epoch: int, draws: np.ndarray | None = None) -> None:
        self._rows, self._seed, self._epoch, self._draws = rows, seed, epoch, draws

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._rows)
        if self._draws is not None:
            # Systematic sampling: no row is seen more than once more or less often than its share.
            ends = np.cumsum(self._draws[order])
            drawn = np.searchsorted(ends, rng.random() + np.arange(self._rows), side="right")
            order = rng.permutation(order[np.minimum(drawn, self._rows - 1)])
        # A row that is seen again in an epoch is seen as in an epoch far away, not as before.
        epochs = epoch + _FAR * _times_before(order)
        yield from (epochs * self._rows + order).tolist()


def _times_before(rows: np.ndarray) -> np.ndarray:
    """How often each row was there before, (n,)."""
    by_row = np.argsort(rows, kind="stable")
    ordered = rows[by_row]
    first = np.searchsorted(ordered, ordered)
    before = np.empty_like(rows)
    before[by_row] = np.arange(len(rows)) - first
    return before


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Have torch on the CPU, numpy and Python draw by these numbers, and then go on as before."""
    import torch

    first, second = np.random.SeedSequence(numbers).generate_state(2).tolist()
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(first)
    np.random.seed(second)
    random.seed(first)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def list_samples(
    dataset: Path,
    classes: Sequence[str],
    files: Collection[str] | None = None,
    places: Mapping[str, Place] | None = None,
) -> dict[str, list[tuple[Place, int]]]:
    """Return each split's (place, class index) pairs; indices follow `classes`, not the folders.

    A class may have no folder in a split that has no image of it.

    Args:
        files: the dataset's, below its folder; by default all pictures that lie there.
        places: where the bytes of `files` are, of a dataset that lies in shards; by default below
            the folder.

    Raises:
        StudentError: a split is missing, a folder is no class, or there is nothing to train or to
            choose the best epoch on. No split ever stands in for another.
    """
    for split in SPLITS if places is None else ():
        if not (dataset / split).is_dir():
            raise StudentError(
                f"{dataset / split} is missing. Run `clip2yolo label` again: it writes all three "
                "splits."
            )
    samples: dict[str, list[tuple[Place, int]]] = {split: [] for split in SPLITS}
    index = {class_name: number for number, class_name in enumerate(classes)}
    for file in sorted(_pictures(dataset) if files is None else files):
        split, class_name, _ = file.split("/", 2)
        if class_name not in index:
            raise StudentError(
                f"{dataset / split / class_name} belongs to no class of the ontology. Remove the "
                "folder, or run `clip2yolo label` again."
            )
        place = dataset / file if places is None else places[file]
        samples[split].append((place, index[class_name]))
    for split, least in (("train", 2), ("valid", 1)):
        if len(samples[split]) < least:
            raise StudentError(
                f"{dataset / split} holds {len(samples[split])} images, and a student needs at "
                f"least {least} there. Add images, or lower `label.min_confidence`."
            )
    return samples


def _pictures(dataset: Path) -> Iterator[str]:
    """The pictures in the class folders, hidden ones aside."""
    for split in SPLITS:
        for path in (dataset / split).glob("*/*"):
            hidden = path.name.startswith(".") or path.parent.name.startswith(".")
            if not hidden and path.suffix.lower() in image_suffixes() and path.is_file():
                yield path.relative_to(dataset).as_posix()
