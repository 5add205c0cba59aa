"""The trainer in one of several processes, each with a device, that make every step together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipeline.machine import cores
from pipeline.student.data import EpochOrder, FolderImages
from pipeline.student.share import Share, Weighed
from pipeline.student.trainer import Trainer

# isort: split
# After `trainer`, which has to load ultralytics first.
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ultralytics.utils import RANK, WORLD_SIZE

_FAR = 1 << 31  # epochs; no training has as many
_PATIENCE = timedelta(hours=3)  # ultralytics' own for GPUs


class TrainerOfSeveral(Trainer):
    """A training whose steps are those of one process with the same batches.

    Each process computes on its part of a batch (`Share`); DistributedDataParallel of torch, by
    which ultralytics trains on several GPUs, takes the mean of the gradients. ultralytics (8.4.190)
    multiplies the losses by the number of processes, as suits losses that are sums: here each
    weighs as much as its part of the batch, and the sum is the mean over the batch, also where the
    last one does not come out even.

    What differs from one process: batch norm computes with the images of each part, and what it
    keeps for later is the first process's; dropout draws by the process.

    The environment says which process this is (RANK), and of how many (WORLD_SIZE). On GPUs
    ultralytics joins them, on processors, which it knows nothing of, this class does.
    """

    def setup_model(self) -> None:
        """Build the model that one process would have built: ultralytics has seeded each process
        differently."""
        torch.manual_seed(self.args.seed)
        super().setup_model()

    def _loader_for(self, dataset: FolderImages, order: EpochOrder | None, batch: int) -> Any:
        """Return this process's part, of `batch` images at most, of batches that all share."""
        rows, whole = len(dataset), batch * self.world_size
        learned = order is not None
        if learned and rows > whole and rows % whole == 1:
            rows -= 1  # as in one process
        share = Share(
            range(rows) if order is None else order,
            rows,
            whole,
            self.world_size,
            RANK,
            least=2 if learned else 0,
        )
        most = max(cores() // self.world_size, 1)
        return self._loader(dataset, batch, share, -(-len(share) // batch), most)

    def _build_train_pipeline(self) -> None:
        """Join the other processes where ultralytics has not."""
        if self.device.type == "cpu":
            # Before this ultralytics would take more than one process for GPUs.
            self.world_size = WORLD_SIZE
            dist.init_process_group("gloo", timeout=_PATIENCE, rank=RANK, world_size=WORLD_SIZE)
            self.model = DistributedDataParallel(self.model)
        super()._build_train_pipeline()

    def _begin_epoch(self) -> None:
        """Draw by the process, too, and have the losses weigh as much as their batches."""
        super()._begin_epoch()
        torch.manual_seed(self.args.seed + self.epoch + RANK * _FAR)
        self._before = None if self._memory is None else self._memory.answers.clone()

    def _criterion(self, given: Any) -> Any:
        return Weighed(super()._criterion(given), self.train_loader.sampler.weights)

    def run_callbacks(self, event: str) -> None:
        """When an epoch ends, sum the parts of the loss up, and remember what all have answered."""
        super().run_callbacks(event)
        if event == "on_train_epoch_end":
            for part in self.tloss.values():
                dist.all_reduce(part)
            if self._memory is not None and self._before is not None:
                _join(self._memory.answers, self._before)

    def _validated(self) -> dict[str, Any] | None:
        """Validate the first process's mean of the weights, each image in one process; None in all
        but the first."""
        mean = self.ema.ema
        for kept in mean.buffers():
            dist.broadcast(kept, src=0)
        mean.criterion = Weighed(mean.init_criterion(), self.test_loader.sampler.weights)
        # For one process, ultralytics leaves the sum of the losses as it is; of several it would
        # take the mean, as if all had as many images, and which gloo does not know.
        count, self.world_size = self.world_size, 1
        try:
            metrics = super()._validated()
        finally:
            self.world_size, mean.criterion = count, None
        for name, part in self.validator.loss.items():
            total = part.clone()
            dist.all_reduce(total)
            if metrics is not None:
                metrics[f"val/{name}"] = round(float(total) / len(self.test_loader), 5)
        return metrics


def _join(mine: torch.Tensor, before: torch.Tensor) -> None:
    """Have each row be what the process that has changed it since says, or the mean of several."""
    moved = mine - before
    times = (moved != 0).any(dim=1, keepdim=True).to(moved.dtype)
    for part in (moved, times):
        dist.all_reduce(part)
    mine.copy_(before + moved / times.clamp(min=1))
