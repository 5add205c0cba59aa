"""The numbers that a student in PyTorch computes with: fp32, or bf16 where it is asked for."""

from __future__ import annotations

from typing import Literal

from pipeline.errors import DeviceError

Precision = Literal["fp32", "bf16"]


def check_precision(precision: Precision, device: str) -> None:
    """Refuse bf16 where it is no product of the hardware: there it would only be slower.

    Args:
        device: of torch, "cpu" or "cuda:1", not "auto".

    Raises:
        DeviceError: the device does not multiply bf16.
    """
    if precision == "fp32":
        return  # without torch, which is slow to load
    from pipeline.teachers.precision import computes_bf16

    if not computes_bf16(device):
        raise DeviceError(
            "`student.precision: bf16` needs a processor or a GPU that multiplies bf16, which "
            f"{device} of this machine does not. Set `student: {{precision: fp32}}`."
        )


def only_slower(precision: Precision, device: str) -> str | None:
    """Return a sentence where a precision is computed, and takes longer than fp32; None elsewhere.

    Args:
        device: of torch, that `check_precision` did not refuse.
    """
    if precision == "fp32" or device != "cpu":
        return None
    from pipeline.teachers.precision import gains_by_bf16

    if gains_by_bf16():
        return None
    return (
        "This processor multiplies fp32 faster than bf16, so that a student in bf16 only takes "
        "longer here. Leave `precision: bf16` out, unless it is another machine that counts."
    )
