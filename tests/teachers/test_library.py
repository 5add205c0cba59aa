"""open_clip comes without what it seldom needs, and has it where it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.teachers import PRESETS
from tests.fakes import picture
from tests.second_process import in_another_process

_LIGHT = """
import sys
from pipeline.teachers.library import open_clip
unasked = {"transformers", "timm", "torch._dynamo", "torch._dynamo.utils", "sympy"}
assert not unasked & set(sys.modules)
"""


def test_asking_about_a_picture_loads_nothing_that_is_not_asked(tmp_path: Path) -> None:
    picture("red", 3).save(tmp_path / "a.png")
    words = ["classify", str(tmp_path / "a.png"), "-p", "a ball", "-p", "a box", "-t", "pocket"]
    found = in_another_process(
        "-c",
        "import sys\nfrom pipeline.cli import main\n"
        f"main({words!r}, standalone_mode=False)\nprint('loaded', *sys.modules)",
    )
    answers, _, modules = found.rpartition("loaded")
    loaded = {name.split(".")[0] for name in modules.split()}
    assert "a ball" in answers and {"torch", "open_clip"} <= loaded
    unasked = "transformers ultralytics matplotlib roboflow sklearn scipy sympy jinja2 autodistill"
    assert not loaded & set(unasked.split())
    assert not [name for name in modules.split() if name.startswith("torch._dynamo")]


def test_a_picture_that_is_not_there_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    found = in_another_process(
        "-c",
        f"""
import sys
from click.testing import CliRunner
from pipeline.cli import main

for words in (["-p", "a ball", "-p", "b", "-t", "pocket"], ["--student", "nowhere"]):
    for name in ("none.png", "none/*.jpg"):
        done = CliRunner().invoke(main, ["classify", {str(tmp_path)!r} + "/" + name, *words])
        print(done.exit_code, done.stderr.strip())
print("torch" in sys.modules)
""",
    )
    *errors, loaded = found.splitlines()
    assert len(errors) == 4 and loaded == "False"
    for name, error in zip(("none.png", "none/*.jpg") * 2, errors, strict=True):
        assert error.startswith("1 error: ") and f"{tmp_path}/{name} " in error


def test_labeling_looks_at_no_student_that_is_known_to_work(tmp_path: Path) -> None:
    for number in range(3):
        picture("red", number).save(tmp_path / f"{number}.png")
    config = {"source": str(tmp_path), "ontology": {"a ball": "a", "a box": "b"}}
    (tmp_path / "c.yaml").write_text(json.dumps(config | {"teacher": {"model": "pocket"}}))
    words = ["label", "-q", "-c", str(tmp_path / "c.yaml")]
    found = in_another_process(
        "-c",
        "import sys\nfrom pipeline.cli import main\n"
        f"main({words!r}, standalone_mode=False)\nprint('loaded', *sys.modules)",
        CLIP2YOLO_CACHE=str(tmp_path / "cache"),
    )
    loaded = {name.split(".")[0] for name in found.rpartition("loaded")[2].split()}
    assert "open_clip" in loaded and not {"ultralytics", "transformers", "sympy"} & loaded


def test_the_compiler_and_what_asks_for_it_work_afterwards() -> None:
    pytest.importorskip("timm")
    in_another_process(
        "-c",
        _LIGHT
        + """
from pipeline.teachers.library import with_library

with_library("timm")
assert unasked & set(sys.modules) == {"timm"}
import timm, torch
from torchvision.ops import roi_align

assert open_clip.timm_model.timm is timm

box = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
assert roi_align(torch.ones(1, 3, 8, 8), box, 2).shape == (1, 3, 2, 2)
size = 32
model = timm.create_model("naflexvit_base_patch16_gap", img_size=size, depth=1, embed_dim=64,
                          num_heads=2, num_classes=0).eval()
with torch.inference_mode():
    assert model(torch.ones(1, 3, size, size)).isfinite().all()
import torch._dynamo.config
from torch._dynamo.utils import is_compile_supported

assert torch._dynamo is sys.modules["torch._dynamo"] and torch._dynamo.__spec__ is not None
assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).sum() == 4
""",
    )


def test_another_thread_may_import_the_same_meanwhile() -> None:
    pytest.importorskip("transformers")
    in_another_process(
        "-c",
        """
import sys, threading, torch

failed = []
def others():
    try:
        import torch._dynamo.config
        import transformers
        assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
        transformers.PretrainedConfig
    except BaseException as error:
        failed.append(error)

thread = threading.Thread(target=others)
thread.start()
from pipeline.teachers.library import open_clip
thread.join()
assert not failed, failed
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).sum() == 4
""",
    )


def test_a_text_tower_of_transformers_has_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    told = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 40}  # fmt: skip
    transformers.BertConfig(**told).save_pretrained(tmp_path)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ball"]
    (tmp_path / "vocab.txt").write_text("\n".join(names))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8,
                       "image_size": 32},
        "text_cfg": {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path),
                     "hf_pooler_type": "mean_pooler", "context_length": 16},
    }  # fmt: skip
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    pocket = PRESETS["pocket"].model
    in_another_process(
        "-c",
        _LIGHT
        + f"""
from pipeline.config import TeacherConfig
from pipeline.teachers import load_teacher

load_teacher(TeacherConfig(model={pocket!r}))  # the other comes when one is there already
assert "transformers" not in sys.modules
from pipeline.teachers.library import with_library
from safetensors.torch import save_file

folder = "local-dir:{tmp_path}"
with_library("transformers")
model = open_clip.create_model(folder, load_weights=False, pretrained_text=False)
held = dict((key, of.contiguous()) for key, of in model.state_dict().items())
save_file(held, "{tmp_path}/open_clip_model.safetensors")
teacher = load_teacher(TeacherConfig(model=folder, device="cpu"))
assert teacher.embed_texts(["a red ball", "a ball"]).shape == (2, 24)
assert open_clip.hf_model.transformers is not None
""",
        HF_HUB_OFFLINE="1",
    )
