"""ultralytics' classification trainer, handed its model and its images instead of names."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.student import library
from pipeline.student.data import FolderImages

# isort: split
# After `library`, which has to set the environment first.
import torch
from ultralytics.data import build_dataloader
from ultralytics.data.augment import classify_augmentations, classify_transforms
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.nn.tasks import ClassificationModel

from pipeline.student.epochs import EpochReport, report_of

_ = library


class Trainer(ClassificationTrainer):  # type: ignore[misc]
    """Args:
    settings: what ultralytics calls overrides.
    samples: (file, class index) pairs by split.
    classes: in class order.
    start: a model to take weights from, or an architecture as a dict.
    checkpoint: an earlier state of the same training to go on from, or None.
    max_pixels: larger images are refused.
    after_epoch: told when an epoch's figures are known, before its state is saved.
    """

    callbacks: dict[str, list[Any]]
    wdir: Path  # where ultralytics keeps its states; last.pt and best.pt lie in it
    last: Path
    best: Path

    def __init__(
        self,
        settings: dict[str, Any],
        samples: dict[str, list[tuple[Path, int]]],
        classes: Sequence[str],
        start: Any,
        checkpoint: dict[str, Any] | None,
        max_pixels: int,
        after_epoch: Callable[[EpochReport], None],
    ) -> None:
        self._samples, self._classes = samples, list(classes)
        self._start, self._checkpoint = start, checkpoint
        self._max_pixels, self._after_epoch = max_pixels, after_epoch
        super().__init__(overrides=dict(settings))
        self.resume = checkpoint is not None
        self.callbacks = {event: [] for event in self.callbacks}  # the validator's, too

    def run_callbacks(self, event: str) -> None:
        """Take the time; tell none of those to whom a person has their own trainings reported."""
        if event == "on_train_epoch_start":
            self._began = time.monotonic()

    def get_dataset(self) -> dict[str, Any]:
        """Name the splits; the images come from `build_dataset`."""
        names = dict(enumerate(self._classes))
        return {
            "train": "train", "val": "valid", "test": "test",
            "nc": len(names), "names": names, "channels": 3,
        }  # fmt: skip

    def setup_model(self) -> dict[str, Any] | None:
        """Build the model, with the checkpoint's weights or those to start from."""
        if self._checkpoint is not None:
            weights = (self._checkpoint.get("ema") or self._checkpoint["model"]).float()
        else:
            weights = None if isinstance(self._start, dict) else self._start
        shape = dict(self._start) if weights is None else weights.yaml
        self.model = self.get_model(shape, weights, verbose=False)
        ClassificationModel.reshape_outputs(self.model, self.data["nc"])
        # ultralytics does so on CUDA only; on an AVX2 CPU an epoch took 0.72 of the time with it.
        self.model = self.model.to(memory_format=torch.channels_last)
        return self._checkpoint

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, in the model's memory format."""
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def build_dataset(self, img_path: str, mode: str = "train", batch: Any = None) -> FolderImages:
        """Return a split's images with ultralytics' own transforms."""
        args = self.args
        transforms = (
            classify_augmentations(
                size=args.imgsz,
                scale=(1.0 - args.scale, 1.0),
                hflip=args.fliplr,
                vflip=args.flipud,
                erasing=args.erasing,
                auto_augment=args.auto_augment,
                hsv_h=args.hsv_h,
                hsv_s=args.hsv_s,
                hsv_v=args.hsv_v,
            )
            if mode == "train"
            else classify_transforms(size=args.imgsz)
        )
        return FolderImages(self._samples[img_path], transforms, self._max_pixels)

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Return batches of a split; for validation the model is told the transforms, too."""
        dataset = self.build_dataset(dataset_path, mode)
        train = mode == "train"
        # Batch norm cannot learn from a batch of one, which the last one may be.
        lone = train and len(dataset) % batch_size == 1
        if not train:
            self.model.transforms = dataset.torch_transforms
        return build_dataloader(
            dataset,
            batch_size,
            self.args.workers,
            shuffle=train,
            rank=-1,
            drop_last=lone,
            device=self.device,
        )

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Pass the epoch's figures on; the table of them is ours to write."""
        self._after_epoch(report_of(self, self._began))

    def validate(self) -> tuple[Any, Any]:
        """Validate, and count the latest epoch as the best one.

        The valid split holds the teacher's labels, noisy and often few: choosing an epoch by them
        chose worse than keeping the end of the cosine (79.5 against 82.5 % of real test photos,
        93.5 against 94.5 % of the packing line's).
        """
        metrics, _ = super().validate()
        self.best_fitness = self.epoch
        return metrics, self.epoch

    def save_model(self) -> bool:
        """Write the state aside and rename it into place, so that a kill leaves a whole one."""
        folder = self.wdir
        final = folder, self.last, self.best
        self.wdir = folder / "aside"
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"
        try:
            saved = bool(super().save_model())
            self.last.replace(final[1])
        finally:
            self.wdir, self.last, self.best = final
        return saved

    def final_eval(self) -> None:
        """Nothing: the best epoch was validated when it ended."""
