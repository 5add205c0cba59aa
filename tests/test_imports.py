"""Parts of torch and its kin wait until somebody needs them, and are then what they always were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import picture
from tests.second_process import in_another_process

_LIGHTER = """
import sys
from pipeline.imports import all_of_torch, only_answers, process_is_ours, waiting

process_is_ours()
only_answers()
import torch

shapes = "torch._meta_registrations"
assert shapes not in sys.modules and not hasattr(torch, "_meta_registrations")


def of_nothing(side):
    weights = torch.ones(2, 3, 3, 3, device="meta")
    return torch.nn.functional.conv2d(torch.ones(1, 3, side, side, device="meta"), weights).shape
"""


def test_a_student_answers_without_the_compiler_and_it_is_there_afterwards(
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


@pytest.mark.parametrize("asked", ["teacher", "student"])
def test_a_command_that_only_asks_has_no_more_of_torch(
    asked: str, three_colors: Path, tmp_path: Path
) -> None:
    picture("green", 5).save(tmp_path / "a.png")
    student = ["--student", str(three_colors / "student")]
    teacher = ["-t", "pocket", "-p", "an apple", "-p", "a lemon"]
    words = ["classify", str(tmp_path / "a.png"), "--device", "cpu",
             *(student if asked == "student" else teacher)]  # fmt: skip
    # What the console does, with a look at the modules instead of the end of the process.
    code = f"""
import sys
from pipeline.cli import main
from pipeline.imports import process_is_ours

if {{ours}}:
    process_is_ours()
main({words!r}, standalone_mode=False)
print("shapes" if "torch._meta_registrations" in sys.modules else "none", file=sys.stderr)
print("shapes" if "torch._meta_registrations" in sys.modules else "none")
"""
    lighter, usual = (in_another_process("-c", code.format(ours=ours)) for ours in (True, False))
    assert lighter.endswith("none\n") and usual.endswith("shapes\n")
    assert lighter.removesuffix("none\n") == usual.removesuffix("shapes\n") != ""


@pytest.mark.parametrize(
    "first",
    [
        "import torch._decomp",
        "import torch._refs.nn.functional",
        "import torch.utils._content_store",
        "from torch._subclasses.fake_tensor import FakeTensorMode; FakeTensorMode()",
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).sum() == 4",
        "all_of_torch()",
    ],
)
def test_shapes_come_before_who_asks_for_them(first: str) -> None:
    in_another_process(
        "-c",
        _LIGHTER
        + first
        + """
assert shapes in sys.modules and of_nothing(8) == (1, 2, 6, 6)
import torch._decomp, torch._prims, torch._refs
for module in (torch, torch._decomp, torch._prims, torch._refs, torch._meta_registrations):
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader", module
    assert sys.modules[module.__name__] is module
""",
    )


def test_torchvision_has_its_models_for_whoever_looks_into_it() -> None:
    in_another_process(
        "-c",
        _LIGHTER
        + """
import importlib.util
assert importlib.util.find_spec("torchvision") is not None  # which imports nothing
with waiting():
    import torchvision
assert not {"torchvision.models", "torchvision.datasets"} & set(sys.modules)
assert torchvision.models.resnet18().fc.out_features == 1000
assert torchvision.models is sys.modules["torchvision.models"]
from torchvision.datasets import ImageFolder
from torchvision import datasets
assert datasets.ImageFolder is ImageFolder
from torchvision.models.feature_extraction import get_graph_node_names
assert "fc" in get_graph_node_names(torchvision.models.resnet18())[0]
""",
    )


def test_timm_looks_into_models_and_open_clip_sends_them_as_ever() -> None:
    pytest.importorskip("timm")
    in_another_process(
        "-c",
        """
import sys
from pipeline.teachers.library import open_clip, with_library

with_library("timm")
import timm, torch
assert "open_clip.push_to_hf_hub" not in sys.modules
assert "torchvision.models.feature_extraction" not in sys.modules
features = timm.create_model("resnet10t", features_only=True, out_indices=(1,), feature_cls="fx")
assert len(features(torch.ones(1, 3, 64, 64))) == 1
try:
    open_clip.push_to_hf_hub()
except TypeError as error:  # of the real one, which wants to know what
    assert "model" in str(error)
else:
    raise AssertionError
""",
    )


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
