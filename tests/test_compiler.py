"""torch's compiler, which takes longer to import than torch, waits until something is compiled."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import picture
from tests.second_process import in_another_process


def test_a_student_answers_without_it_and_it_is_there_afterwards(
    three_colors: Path, tmp_path: Path
) -> None:
    picture("green", 5).save(tmp_path / "a.png")
    words = ["classify", str(tmp_path / "a.png"), "--student", str(three_colors / "student"),
             "--device", "cpu"]  # fmt: skip
    found = in_another_process(
        "-c",
        f"""
import sys
from pipeline.cli import main

main({words!r}, standalone_mode=False)
loaded = {{name.split(".")[0] for name in sys.modules}}
assert "ultralytics" in loaded
assert not loaded & {{"sympy", "triton", "matplotlib", "open_clip", "timm", "scipy"}}
assert not [name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))]

import torch
from torchvision.ops import roi_align

assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).sum() == 4
box = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
assert roi_align(torch.ones(1, 3, 8, 8), box, 2).shape == (1, 3, 2, 2)
""",
    )
    assert "green" in found


def test_what_ultralytics_sets_in_torch_is_put_back() -> None:
    in_another_process(
        "-c",
        """
import torch
from pipeline.yolo.library import ultralytics_version
from pipeline.yolo.apart import undisturbed

for before in ((False, False), (True, True), (True, False)):
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    for inside in ((True, False), (True, True), (False, False)):
        with undisturbed():
            torch.use_deterministic_algorithms(inside[0], warn_only=inside[1])
        assert torch.are_deterministic_algorithms_enabled() == before[0]
        assert torch.is_deterministic_algorithms_warn_only_enabled() == before[1]
""",
    )
