"""Images with truth, and teachers that have seen them, for the benchmark of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import SpaceConfig, TeacherConfig, load_config
from pipeline.errors import ConfigError
from pipeline.images.scan import scan
from pipeline.images.sources import find_images
from pipeline.images.truth import labeled_files, read_truth
from pipeline.labels.refine.batch import Space
from pipeline.listener import Listener
from pipeline.ontology import Ontology, build_ontology, ontology_of
from pipeline.sample.folder import set_up
from pipeline.spaces.see import see
from pipeline.teachers.panel import Member, ask, load_panel

_HERE = Path(__file__).parent
EVERYDAY = load_config(_HERE / "everyday.yaml")


@dataclass(frozen=True)
class Photos:
    """Images whose classes are known."""

    name: str
    ontology: Ontology
    images: pl.DataFrame  # id, path, class; the class is null for images of none of the classes
    drawn: bool = False  # the sample, which the pocket teacher knows and no other

    @property
    def truth(self) -> np.ndarray:
        """Class indices (n,) int64; -1: none of the classes."""
        numbers = {name: number for number, name in enumerate(self.ontology.classes)}
        column = self.images["class"].replace_strict(numbers, default=-1, return_dtype=pl.Int64)
        return column.to_numpy()


@dataclass(frozen=True)
class Case:
    """A teacher, by itself or with a second space, and images that it has seen."""

    teacher: str
    data: str  # the data set's name
    member: Member
    ontology: Ontology
    spaces: tuple[Space, ...]
    truth: np.ndarray  # (n,) class indices; -1: none of the classes

    def of_classes(self) -> Case:
        """The same, of the images that have a class."""
        rows = np.flatnonzero(self.truth >= 0)
        spaces = tuple(replace(space, vectors=space.vectors[rows]) for space in self.spaces)
        return replace(self, spaces=spaces, truth=self.truth[rows])


def data_sets(folders: Sequence[Path], listener: Listener) -> list[Photos]:
    """Return the data sets that are at hand, and say which are not.

    Args:
        folders: further ones, each a folder of class folders.
        listener: told what is not there.

    Raises:
        ConfigError, SourceError: a folder that was named is none of class folders.
    """
    found = []
    if EVERYDAY.sources[0].path.is_dir():
        found += everyday()
    else:
        listener.warn(f"Skipped: the everyday photos, which are not in {EVERYDAY.sources[0].path}.")
    sample = load_config(set_up(_HERE.parent, listener))
    assert sample.pool_truth is not None and sample.truth is not None
    ontology = ontology_of(sample)
    for part, place, beside in (
        ("pool", sample.pool_truth, [sample.sources[0].path]),
        ("test", sample.truth, []),
    ):
        images, _ = read_truth(place, beside=beside)
        found.append(Photos(f"packing line/{part}", ontology, images, drawn=True))
    return found + [class_folders(folder) for folder in folders]


def everyday() -> list[Photos]:
    """Return the everyday photos, pool and test, each with those of none of their classes."""
    config, found = EVERYDAY, []
    assert config.pool_truth is not None and config.truth is not None
    pool = config.sources[0].path
    for part, place, beside in (("pool", config.pool_truth, [pool]), ("test", config.truth, [])):
        images, _ = read_truth(place, beside=beside)
        if (others := pool.with_name(f"{part}_other")).is_dir():
            scanned = scan(find_images([others])).filter(pl.col("status") == "ok")
            images = pl.concat([images, scanned.select("id", "path")], how="diagonal")
        found.append(Photos(f"everyday/{part}", ontology_of(config), images))
    return found


def class_folders(folder: Path) -> Photos:
    """Return class folders as data; the prompts are "a photo of a …", from their names.

    Raises:
        ConfigError, SourceError: the folder is not there, or has no class folders with images.
    """
    images, _ = read_truth(folder)
    names = sorted({name for _, name in labeled_files(folder)})
    prompts = {f"a photo of {_with_article(name.replace('_', ' '))}": name for name in names}
    return Photos(folder.name, build_ontology(prompts), images)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def teachers(named: Sequence[str], listener: Listener) -> list[TeacherConfig]:
    """Return the teachers that are at hand: the shared ones, those named, and the sample's."""
    first = Path(EVERYDAY.teachers[0].model.removeprefix("local-dir:"))
    found = []
    for folder in (first, first.with_name("natural-small")):
        if folder.is_dir():
            found.append(TeacherConfig(model=f"local-dir:{folder}"))
        else:
            listener.warn(f"Skipped: the teacher {folder.name}, which is not in {folder.parent}.")
    for name in named:
        model = f"local-dir:{Path(name).absolute()}" if Path(name).is_dir() else name
        found.append(TeacherConfig(model=model))
    return [*found, TeacherConfig(model="pocket")]


def spaces_beside(teacher: str) -> Iterator[tuple[str, SpaceConfig]]:
    """The second spaces that are tried with a teacher, by name: for the weakest one only."""
    first = Path(EVERYDAY.teachers[0].model.removeprefix("local-dir:"))
    if teacher != first.name:
        return
    if (small := first.with_name("natural-small")).is_dir():
        yield f"sight of {small.name}", SpaceConfig(model=f"local-dir:{small}")
    if Path(EVERYDAY.student.model).is_file():
        yield "features of the student", SpaceConfig(kind="student", model=EVERYDAY.student.model)


def suits(teacher: TeacherConfig, photos: Photos) -> bool:
    """Whether a teacher is asked about these images: the pocket teacher has never seen a photo, and
    the sample is drawn for it."""
    return (teacher.model == "pocket") == photos.drawn


def cases(photos: Photos, teacher: TeacherConfig, listener: Listener) -> Iterator[Case]:
    """Show images to a teacher, and to the spaces that are tried beside it.

    Raises:
        TeacherError: it cannot be loaded, or fails.
        ConfigError: it gives no vectors.
    """
    panel = load_panel([teacher], photos.ontology, photos.ontology.classes, listener)
    member = panel.members[0]
    if not member.teacher.gives_vectors:
        raise ConfigError(f"{member.name} gives no vectors, which this benchmark compares.")
    asked = ask(panel, photos.images, EVERYDAY.max_pixels, listener)
    images = photos.images.filter(pl.col("id").is_in(asked.ids.implode()))
    ids, truth = images["id"].to_list(), replace(photos, images=images).truth
    name = Path(teacher.model.removeprefix("local-dir:")).name
    vectors = asked.vectors(ids)
    assert vectors is not None
    own = Space(name, vectors)
    yield Case(name, photos.name, member, photos.ontology, (own,), truth)
    for said, settings in spaces_beside(name):
        seen = see(settings, EVERYDAY.student, images, EVERYDAY.max_pixels, listener)
        spaces = (own, Space(said, seen.vectors(ids)))
        yield Case(f"{name} + {said}", photos.name, member, photos.ontology, spaces, truth)
