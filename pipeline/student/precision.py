"""The numbers that a student in PyTorch computes with: fp32 or bf16."""

from __future__ import annotations

from typing import Literal

from pipeline.errors import DeviceError

Precision = Literal["fp32", "bf16"]
Asked = Literal["auto", "fp32", "bf16"]
ALIKE = 0.995  # of pictures that bf16 must answer as fp32 does


def pick_precision(asked: Asked, device: str) -> Precision:
    """Return what a student computes with: `asked`, or for "auto" bf16 on processors that multiply
    it faster than fp32, and fp32 elsewhere. (On an H200 half precision took 1.2 times as long at 96
    pixels, and 0.7 times at 224; no run waits for that.) Of a certain student, see `Student.load`.

    Args:
        device: of torch, "cpu" or "cuda:1", not "auto".

    Raises:
        DeviceError: bf16 was asked for, and is no product of the hardware: it would only be slower.
    """
    if asked == "fp32" or (asked == "auto" and device != "cpu"):
        return "fp32"  # without torch, which is slow to load
    from pipeline.teachers.precision import computes_bf16, gains_by_bf16

    if asked == "auto":
        return "bf16" if gains_by_bf16() else "fp32"
    if not computes_bf16(device):
        raise DeviceError(
            "`student.precision: bf16` needs a processor or a GPU that multiplies bf16, which "
            f"{device} of this machine does not. Set `student: {{precision: auto}}`."
        )
    return asked


def only_slower(precision: Precision, device: str) -> str | None:
    """Return a sentence where a precision is computed, and takes longer than fp32; None elsewhere.

    Args:
        device: of torch, that `pick_precision` did not refuse.
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
