"""Which devices a student trains on."""

from __future__ import annotations

from pipeline.config import StudentConfig
from pipeline.errors import StudentError

_LEAST = 2  # images of a batch for each process: batch norm cannot learn from one


def devices_of(config: StudentConfig) -> list[str]:
    """Return the devices that `student.device` names, one for each process: one, unless several are
    asked for. Whether they are there is not looked at.

    Raises:
        StudentError: they cannot train together, or not with this batch.
    """
    devices = config.device.split(",")
    if len(devices) == 1:
        return devices
    gpus = all(one.startswith("cuda:") for one in devices)
    if not gpus and set(devices) != {"cpu"}:
        raise StudentError(
            f"`student.device` is {config.device!r}. Several devices are GPUs by their numbers, as "
            "in `device: [0, 1]`, or `cpu,cpu`: as many processes on this machine's processors."
        )
    twice = [one for one in dict.fromkeys(devices) if devices.count(one) > 1]
    if gpus and twice:
        raise StudentError(f"`student.device` names {twice[0]} twice. Name each GPU once.")
    count = len(devices)
    if config.batch % count or config.batch < _LEAST * count:
        fitting = max(round(config.batch / count), _LEAST) * count
        raise StudentError(
            f"`student.batch: {config.batch}` cannot be shared evenly by {count} processes with "
            f"{_LEAST} images or more for each. Set a multiple of {count}, like {fitting}."
        )
    return devices
