"""ultralytics' classification trainer, handed its model and its images instead of names."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StudentError
from pipeline.files import replacing
from pipeline.machine import cores
from pipeline.student.data import EpochOrder, FolderImages
from pipeline.student.lessons import Lessons
from pipeline.student.sights import Deciding, LearningSight
from pipeline.student.states import in_order, without_circumstances
from pipeline.yolo.library import ClassificationModel

# isort: split
# After `library`, which has to set the environment first.
import torch
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

from pipeline.student.early_learning import EarlyLearning, Memory
from pipeline.student.epochs import OVERFLOWN, EpochReport, report_of
from pipeline.yolo.geometry import Preparation, augmentation, saved_steps

# In the folder of a training.
STATE = "state.pt"  # to go on from
WEIGHTS = "weights.pt"  # once the last epoch is done


class Trainer(ClassificationTrainer):  # type: ignore[misc]
    """A training that depends on its settings alone, wherever it was interrupted.

    All that an epoch begins with is in the state that the one before it left: weights, their mean,
    the optimizer. The rest follows from the epoch's number: order and augmentation of the images
    (`FolderImages`), the learning rate, and the random numbers of the model, which is seeded anew.

    Args:
        settings: what ultralytics calls overrides.
        lessons: the images of each split, and what is learned of them.
        classes: in the order of the answers.
        start: a model to take weights from, or an architecture as a dict.
        state: what an earlier state file of the same training held, or None.
        max_pixels: larger images are refused.
        fit: how a picture becomes a square, see `geometry`.
        after_epoch: told when an epoch's figures are known, before its state is saved.
    """

    callbacks: dict[str, list[Any]]
    wdir: Path  # where ultralytics keeps its states; last.pt and best.pt lie in it
    last: Path
    best: Path

    def __init__(
        self,
        settings: dict[str, Any],
        lessons: Lessons,
        classes: Sequence[str],
        start: Any,
        state: dict[str, Any] | None,
        max_pixels: int,
        fit: str,
        after_epoch: Callable[[EpochReport], None],
    ) -> None:
        self._lessons, self._classes = lessons, list(classes)
        self._start, self._state = start, state
        self._max_pixels, self._fit, self._after_epoch = max_pixels, fit, after_epoch
        self._sights: np.ndarray | None = None
        if lessons.sights is not None:
            self._sights = np.load(lessons.sights, mmap_mode="r")
        super().__init__(overrides=dict(settings))
        self.callbacks = {event: [] for event in self.callbacks}  # the validator's, too

    def run_callbacks(self, event: str) -> None:
        """Begin an epoch; tell none of those to whom a person has their own trainings reported."""
        if event == "on_train_epoch_start":
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        """Take the time, and draw by the epoch's number."""
        self._began = time.monotonic()
        self._batches = 0
        # The order and the images have their own seeds; this one is for the model's dropout.
        torch.manual_seed(self.args.seed + self.epoch)
        model = unwrap_model(self.model)
        model.criterion = self._criterion(model.init_criterion())

    def _criterion(self, given: Any) -> Any:
        """Return what an epoch is trained by: ultralytics' own, where something is believed of the
        images, what keeps to early answers, and where a space has seen them, what it saw."""
        if self._memory is not None:
            given = EarlyLearning(given, self._memory, self._bound)
        if self._sights is not None:
            given = LearningSight(given, unwrap_model(self.model).model[-1].linear, self._sights)
        return given

    def get_dataset(self) -> dict[str, Any]:
        """Name the splits; the images come from `build_dataset`."""
        names = dict(enumerate(self._classes))
        return {
            "train": "train", "val": "valid", "test": "test",
            "nc": len(names), "names": names, "channels": 3,
        }  # fmt: skip

    def setup_model(self) -> None:
        """Build the model, with the weights to start from."""
        weights, shape = None, self._start
        if not isinstance(shape, dict):
            weights = in_order(shape, self._classes)
            shape = weights.yaml
        self.model = self.get_model(dict(shape), weights, verbose=False)
        ClassificationModel.reshape_outputs(self.model, self.data["nc"])
        if self._sights is not None:
            last = self.model.model[-1]
            last.linear = Deciding(last.linear, self._sights.shape[1])
        # ultralytics does so on CUDA only; on an AVX2 CPU an epoch took 0.72 of the time with it.
        self.model = self.model.to(memory_format=torch.channels_last)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, in the model's memory format."""
        self.accumulate = 1  # see `optimizer_step`; the loop sets it anew while it warms up
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def build_dataset(self, img_path: str, mode: str = "train", batch: Any = None) -> FolderImages:
        """Return a split's images, as the student's geometry has them. The loss takes probabilities
        as it takes class indices; validation has the latter always."""
        args, lessons = self.args, self._lessons
        transforms = (
            augmentation(self._fit, args) if mode == "train" else Preparation(self._fit, args.imgsz)
        )
        return FolderImages(
            lessons.samples[img_path],
            transforms,
            self._max_pixels,
            args.seed,
            lessons.targets if mode == "train" else None,
        )

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Return batches of a split; for validation the model is told the transforms, too."""
        dataset = self.build_dataset(dataset_path, mode)
        train, rows = mode == "train", len(dataset)
        if not train:
            unwrap_model(self.model).transforms = saved_steps(self._fit, self.args.imgsz)
        first = 0 if self._state is None else self._state["epoch"] + 1
        order = EpochOrder(rows, self.args.seed, first, self._lessons.draws) if train else None
        return self._loader_for(dataset, order, batch_size)

    def _loader_for(self, dataset: FolderImages, order: EpochOrder | None, batch: int) -> Any:
        """Return batches of that many images: in an order to learn from, or all in turn."""
        rows = len(dataset)
        size = min(batch, rows)
        # Batch norm cannot learn from a batch of one, which the last one may be.
        drop_last = order is not None and rows > size and rows % size == 1
        return self._loader(dataset, size, order, -(-rows // size), cores(), drop_last)

    def _loader(
        self,
        dataset: FolderImages,
        size: int,
        sampler: Any,
        batches: int,
        most: int,
        drop_last: bool = False,
    ) -> Any:
        """Return ultralytics' loader, with `most` processes at most that prepare the images."""
        workers = min(self.args.workers, most, batches if batches > 1 else 0)
        return InfiniteDataLoader(
            dataset,
            size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # or it would draw from the model's
        )

    def _build_train_pipeline(self) -> None:
        """Note how many batches make a step, and remember nothing of the images yet."""
        certain = self._lessons.certain
        self._memory: Memory | None = None
        # A model of random weights is wrong at first, not right: of the packing line's refined
        # labels a second student ended at 93.5 % after a first one that had kept to that, at 95.3
        # without.
        if certain is not None and not isinstance(self._start, dict):
            self._memory = Memory(len(certain), len(self._classes), self.device)
            self._bound = torch.from_numpy(certain).to(self.device)
        super()._build_train_pipeline()
        self._gathered = self.accumulate

    def optimizer_step(self) -> None:
        """Make a step when enough batches are gathered, or no more are coming in this epoch.

        ultralytics' loop would count on into the next epoch, and no state holds what it gathered.
        Here it calls after every batch.
        """
        self._batches += 1
        if self._batches % self._gathered == 0 or self._batches == len(self.train_loader):
            super().optimizer_step()

    def resume_training(self, ckpt: None) -> None:
        """Go on where the state was left."""
        if self._state is None:
            return
        unwrap_model(self.model).load_state_dict(self._state["model"])
        self._load_checkpoint_state(self._state | {"ema": None})
        self.ema.ema.load_state_dict(self._state["ema"])
        self.ema.updates = self._state["updates"]
        if self._memory is not None:
            self._memory.answers.copy_(self._state["remembered"])
        self.start_epoch = self._state["epoch"] + 1

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Do not try again from an earlier state, as ultralytics does: `save_metrics` ends it."""
        return False

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Pass the epoch's figures on; the table of them is ours to write."""
        self._after_epoch(report_of(self, self._began))

    def validate(self) -> tuple[Any, Any]:
        """Validate, and count the latest epoch as the best one.

        The valid split holds the teacher's labels, noisy and often few: choosing an epoch by them
        chose worse than keeping the end of the cosine (79.5 against 82.5 % of real test photos,
        93.5 against 94.5 % of the packing line's).
        """
        metrics = self._validated()
        self.best_fitness = self.epoch
        return metrics, self.epoch

    def _validated(self) -> dict[str, Any] | None:
        """Return the figures of the valid split."""
        metrics: dict[str, Any] | None = super().validate()[0]
        return metrics

    def save_model(self) -> bool:
        """Write the state into one file, in one step; after the last epoch the weights before it.

        ultralytics' own states are not gone on with: they hold the mean of the weights in half
        precision, and neither the weights themselves nor anything random.
        """
        if self.epoch + 1 == self.epochs:
            self._save_weights()
        state = {
            "epoch": self.epoch,
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "remembered": None if self._memory is None else self._memory.answers,
        }
        with replacing(self.save_dir / STATE) as aside, aside.open("wb") as file:
            torch.save(state, file)
        return True

    def _save_weights(self) -> None:
        """Write the mean of the weights as ultralytics does, without what only training needs and
        without what no other training of the same would write.

        Raises:
            StudentError: half precision cannot hold them; ultralytics would write other numbers.
        """
        kept = self.ema.ema.state_dict().values()
        if not all(torch.isfinite(value.half()).all() for value in kept):
            raise StudentError(OVERFLOWN)
        with _answers_alone(self.ema.ema.model[-1]):
            super().save_model()
        with replacing(self.save_dir / WEIGHTS) as aside:
            kept = without_circumstances(strip_optimizer(self.last, str(aside)))
            with aside.open("wb") as file:
                torch.save(kept, file)

    def final_eval(self) -> None:
        """Nothing: the best epoch was validated when it ended."""


@contextlib.contextmanager
def _answers_alone(last: Any) -> Iterator[None]:
    """Have a model's last layers give answers and nothing beside them."""
    before = last.linear
    if isinstance(before, Deciding):
        last.linear = before.alone()
    try:
        yield
    finally:
        last.linear = before
