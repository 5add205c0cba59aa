"""The exported dataset as the student reads it, through the same decoder as the teacher."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.errors import SourceError, StudentError
from pipeline.pixels import image_suffixes, read_rgb
from pipeline.records import SPLITS

# Decoded pictures are kept in memory up to this many bytes, shared by both splits: decoding big
# photos again in every epoch would take longer than training on them.
_KEEP_BYTES = 512 << 20


class FolderImages:
    """The images of one split, as ultralytics' trainer expects a dataset.

    ultralytics' own class is not used (8.4.190): it reads with other decoders than the teacher,
    writes cache files beside the dataset, repairs damaged JPEGs in place (ours are links to a
    person's photos) and numbers the classes by the folders that it finds.

    Args:
        samples: (file, class index) pairs.
        transforms: from an RGB image to a float32 tensor (3, H, W).
        max_pixels: larger images are refused.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Path, int]],
        transforms: Callable[[Image.Image], Any],
        max_pixels: int,
    ) -> None:
        self.samples = list(samples)
        self.torch_transforms = transforms
        self._max_pixels = max_pixels
        self._kept: dict[int, Image.Image] = {}
        self._room = _KEEP_BYTES // 2

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        path, index = self.samples[row]
        image = self._kept.get(row)
        if image is None:
            try:
                image = read_rgb(path, self._max_pixels)
            except SourceError as error:
                raise SourceError(
                    f"{path} cannot be trained on. {error} Run `clip2yolo label` again."
                ) from error
            size = image.width * image.height * 3
            if size <= self._room:
                self._kept[row] = image
                self._room -= size
        return {"img": self.torch_transforms(image), "cls": index}


def list_samples(
    dataset: Path, classes: Sequence[str], files: Collection[str] | None = None
) -> dict[str, list[tuple[Path, int]]]:
    """Return each split's (file, class index) pairs; indices follow `classes`, not the folders.

    A class may have no folder in a split that has no image of it.

    Args:
        files: the dataset's, below its folder; by default all pictures that lie there.

    Raises:
        StudentError: a split is missing, a folder is no class, or there is nothing to train or to
            choose the best epoch on. No split ever stands in for another.
    """
    for split in SPLITS:
        if not (dataset / split).is_dir():
            raise StudentError(
                f"{dataset / split} is missing. Run `clip2yolo label` again: it writes all three "
                "splits."
            )
    samples: dict[str, list[tuple[Path, int]]] = {split: [] for split in SPLITS}
    index = {class_name: number for number, class_name in enumerate(classes)}
    for file in sorted(_pictures(dataset) if files is None else files):
        split, class_name, _ = file.split("/", 2)
        if class_name not in index:
            raise StudentError(
                f"{dataset / split / class_name} belongs to no class of the ontology. Remove the "
                "folder, or run `clip2yolo label` again."
            )
        samples[split].append((dataset / file, index[class_name]))
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
