"""What notebooks written for autodistill do beyond the first label and train."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
import torch
from autodistill.core.composed_detection_model import ComposedDetectionModel
from autodistill.core.embedding_ontology import (
    EmbeddingOntologyImage,
    EmbeddingOntologyRaw,
    EmbeddingOntologyText,
    compare_embeddings,
)
from autodistill.detection import CaptionOntology
from PIL import Image

from pipeline.autodistill import CLIP, YOLOv8
from pipeline.errors import ConfigError, DeviceError, SourceError, StudentError
from pipeline.pixels import read_rgb
from pipeline.student.unlike import IN_BF16
from tests.fakes import photos, picture
from tests.tiny_models import write_model
from tests.tiny_student import CLASSES, make_dataset

COLORS = {"a red thing": "red", "a blue thing": "blue"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return f"local-dir:{folder}"


@pytest.fixture
def base(model: str) -> CLIP:
    return CLIP(CaptionOntology(COLORS), model=model, device="cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("students") / "dataset", images=4)


@pytest.fixture(scope="module")
def weights(dataset: Path) -> Path:
    """A training's weights alone, named as ultralytics names its own."""
    out = dataset.parent / "student"
    YOLOv8("yolov8n-cls.yaml").train(dataset, 1, "cpu", out, imgsz=64, workers=0)
    return Path(shutil.copy(out / "weights.pt", dataset.parent / "best.pt"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_another_ontology_is_asked_from_then_on(model: str, tmp_path: Path) -> None:
    (path,) = photos(tmp_path / "photos", {"red": 1})
    other = CaptionOntology({"a lamp": "lamp", "a chair": "chair", "a table": "table"})
    wanted = CLIP(other, model=model, device="cpu").predict(path).confidence
    for change in (CLIP.set_ontology, lambda base, given: setattr(base, "ontology", given)):
        base = CLIP(CaptionOntology(COLORS), model=model, device="cpu")
        change(base, other)
        assert base.ontology is other
        assert base.predict(path).confidence == pytest.approx(wanted)
        assert base.label(tmp_path / "photos").classes == ["lamp", "chair", "table"]
        with pytest.raises(ConfigError, match="one class only"):
            base.set_ontology(CaptionOntology({"a lamp": "lamp"}))
        assert base.ontology is other and base.predict(path).confidence == pytest.approx(wanted)


@pytest.mark.parametrize("given", [{"a": "b"}, None, CaptionOntology({1: "one", 2: "two"})])
def test_what_is_no_ontology_gets_a_sentence(model: str, given: Any) -> None:
    with pytest.raises(ConfigError, match=r"ontology"):
        CLIP(given, model=model, device="cpu")


def test_the_label_cell_runs_again(base: CLIP, tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 5, "blue": 5})
    output = tmp_path / "photos" / "labeled"  # inside: what lies there is no picture to label
    first = base.label(tmp_path / "photos", output_folder=output)
    before = files(output)
    again = base.label(tmp_path / "photos", output_folder=output)
    assert again.image_paths == first.image_paths and len(first) == 10
    assert files(output) == before
    base.set_ontology(CaptionOntology({"a lamp": "lamp", "a chair": "chair"}))
    base.label(tmp_path / "photos", ".png", output)
    assert sorted(path.name for path in (output / "train").iterdir()) == ["chair", "lamp"]


@pytest.mark.parametrize("what", ["added", "moved", "edited", "no folder of ours", "a file"])
def test_a_persons_files_are_never_replaced(base: CLIP, tmp_path: Path, what: str) -> None:
    photos(tmp_path / "photos", {"red": 5, "blue": 5})
    output = tmp_path / "out"
    if what == "no folder of ours":
        (output / "train" / "red").mkdir(parents=True)
        picture("red").save(output / "train" / "red" / "1.png")
    elif what == "a file":
        output.write_text("mine")
    else:
        base.label(tmp_path / "photos", output_folder=output)
        one = next(path for path in sorted((output / "train").rglob("*.png")))
        if what == "added":
            (output / "notes.txt").write_text("mine")
        elif what == "moved":  # into another class, by hand: the label was wrong
            other = {"red": "blue", "blue": "red"}[one.parent.name]
            (output / "train" / other).mkdir(exist_ok=True)
            one.rename(output / "train" / other / one.name)
        else:
            one.unlink()
            picture("blue", 99).save(one)
    before = {name: (output / name).read_bytes() for name in files(output)}
    with pytest.raises(SourceError, match=r"Name another `output_folder`"):
        base.label(tmp_path / "photos", output_folder=output)
    assert {name: (output / name).read_bytes() for name in files(output)} == before


def test_what_label_cannot_do_gets_a_sentence(base: CLIP, tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 2, "blue": 2})
    for name, value in (
        ("sahi", True), ("record_confidence", True), ("human_in_the_loop", True),
        ("roboflow_project", "mine"), ("roboflow_tags", ["a"]), ("nms_settings", "class_agnostic"),
        ("sahii", False),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"`label` takes no `{name}`"):
            base.label(tmp_path / "photos", **{name: value})
    with pytest.raises(ConfigError, match="one suffix"):
        base.label(tmp_path / "photos", extension=[".png", ".jpg"])  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="does not exist"):
        base.label(tmp_path / "none")
    assert len(base.label(tmp_path / "photos", sahi=False, record_confidence=False)) == 4


def test_vectors_are_the_models_own(base: CLIP, model: str, tmp_path: Path) -> None:
    import open_clip

    (path,) = photos(tmp_path, {"red": 1})
    found, text = base.embed_image(str(path)), base.embed_text("a red thing")
    net, _, transform = open_clip.create_model_and_transforms(model)
    with torch.no_grad():
        image = net.eval().encode_image(transform(Image.open(path))[None], normalize=True).numpy()
        words = net.encode_text(open_clip.get_tokenizer(model)(["a red thing"]), normalize=True)
    assert found.shape == text.shape == (1, 24)
    assert float((found * image).sum()) > 0.9999 and float((text * words.numpy()).sum()) > 0.9999
    with pytest.raises(ConfigError, match="tokens too long"):
        base.embed_text("a red thing " * 30)
    with pytest.raises(ConfigError, match="one text at a time"):
        base.embed_text(["a", "b"])  # type: ignore[arg-type]


def test_ontologies_of_embeddings_answer_with_cosines(base: CLIP, tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", {"red": 3, "blue": 3})
    shown: dict[str, Any] = {"red": [str(paths[0]), str(paths[1])], "blue": [str(paths[4])]}
    raw = {name: base.embed_image(files_[0]) for name, files_ in shown.items()}
    for given in (
        EmbeddingOntologyImage(dict(shown)),
        EmbeddingOntologyRaw(raw),
        EmbeddingOntologyText([("red", "a red thing"), ("blue", "a blue thing")], base),
    ):
        base.set_ontology(given)
        base.set_ontology(given)  # whose pictures are vectors by now
        answer = base.predict(paths[2])
        vectors = list(dict(given.embeddingMap).values())
        wanted = compare_embeddings(base.embed_image(paths[2]), vectors)
        assert answer.class_id.tolist() == wanted.class_id.tolist()
        assert answer.confidence == pytest.approx(wanted.confidence, abs=1e-5)
        labeled = base.label(tmp_path / "photos")
        assert labeled.classes == ["red", "blue"]
        for path, _, one in labeled:
            assert one.class_id[0] == base.predict(path).confidence.argmax()
    for bad in (np.ones(3), np.zeros(24), np.full(24, np.nan)):
        with pytest.raises(ConfigError, match="'blue' is no vector"):
            base.set_ontology(EmbeddingOntologyRaw({"red": raw["red"], "blue": bad}))


def test_it_classifies_what_a_detector_found(
    base: CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Detector:
        def predict(self, image: str) -> sv.Detections:
            return sv.Detections(xyxy=np.array([[0, 0, 20, 20.0]]), class_id=np.array([7]))

    monkeypatch.chdir(tmp_path)
    (path,) = photos(tmp_path, {"red": 1})
    found = ComposedDetectionModel(Detector(), base).predict(str(path))
    assert found.class_id.tolist() == [base.predict("temp.jpeg").confidence.argmax()]


@pytest.mark.parametrize("form", ["./best.pt", "best.pt", "absolute", "path"])
def test_weights_predict_right_away_with_their_own_classes_and_size(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from ultralytics import YOLO

    monkeypatch.chdir(weights.parent)
    given = {"absolute": str(weights), "path": weights}.get(form, form)
    target = YOLOv8(model_name=given)
    assert target.classes == tuple(sorted(CLASSES))
    path = tmp_path / "x.png"
    picture("blue", 5, (90, 70)).save(path)
    found = target.predict(str(path), confidence=0)
    (wanted,) = YOLO(weights).predict(str(path), device="cpu", verbose=False)
    assert len(found) == 3
    assert found.confidence == pytest.approx(wanted.probs.data[found.class_id].numpy(), abs=1e-4)


def test_training_starts_from_weights_in_any_form(weights: Path, dataset: Path) -> None:
    for start in (weights, weights.parent / "student"):
        target = YOLOv8(start)
        out = weights.parent / "next"
        target.train(dataset / "data.yaml", epochs=1, device="cpu", output=out, imgsz=32, workers=0)
        assert target.classes == tuple(sorted(CLASSES)) and (out / "weights.pt").is_file()
        (out / IN_BF16).touch()  # which some processors' students have, and the next one replaces


def test_what_is_no_model_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(StudentError, match=r"bad\.pt cannot be loaded"):
        YOLOv8(tmp_path / "bad.pt")
    with pytest.raises(StudentError, match="does not exist"):
        YOLOv8("./none.pt")
    with pytest.raises(StudentError, match=r"publishes no classification weights 'yolov8n\.pt'"):
        YOLOv8("yolov8n.pt").predict(picture("red"))


def test_a_training_replaces_students_only(dataset: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "weights.pt"):
        out = tmp_path / f"with {name}"
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(SourceError, match="Name another `output`"):
            YOLOv8(weights).train(dataset, output=out)
        assert (out / name).read_text() == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so nothing is refused")
@pytest.mark.parametrize("device", [0, "0", "cuda:0", [0], "0,1", torch.device("cuda:0")])
def test_devices_are_named_as_in_torch_and_ultralytics(
    dataset: Path, weights: Path, model: str, device: Any
) -> None:
    with pytest.raises(DeviceError, match=r"'cuda:0' is not available"):
        YOLOv8(weights).train(dataset, epochs=1, device=device, output=dataset.parent / "none")
    with pytest.raises(ConfigError, match=r"'cuda:0' is not available"):
        CLIP(CaptionOntology(COLORS), model=model, device=device)


def test_unknown_settings_get_a_sentence(dataset: Path, weights: Path, model: str) -> None:
    with pytest.raises(ConfigError, match="`epoch` is not a key"):
        YOLOv8(weights).train(dataset, epoch=3)
    with pytest.raises(ConfigError, match=r"`epochs` is 0; it must be at least 1"):
        YOLOv8(weights).train(dataset, epochs=0)
    with pytest.raises(ConfigError, match="`pretraned` is not a key"):
        CLIP(CaptionOntology(COLORS), model=model, pretraned="openai")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pictures_come_as_addresses_and_paths(
    base: CLIP, weights: Path, tmp_path: Path, served: str
) -> None:
    path = tmp_path / "a photo.png"
    picture("red", 3).save(path)
    for asked in (base, YOLOv8(weights)):
        wanted = asked.predict(str(path)).confidence
        for given in (path, path.as_uri(), f"{served}/a%20photo.png"):
            assert asked.predict(given).confidence == pytest.approx(wanted), given
        for given, reason in (
            (None, "NoneType is no picture"),
            ([path], "one at a time"),
            (b"bytes", "is no picture"),
            (tmp_path / "none.png", r"none\.png: There is no such file"),
            ((tmp_path / "none.png").as_uri(), r"none\.png: There is no such file"),
            (f"{served}/none.png", r"none\.png: The server answered with status 404"),
            (tmp_path, "is a folder"),
            (Image.new("RGB", (0, 5)), "holds nothing"),
            (np.zeros((0, 5, 3), np.uint8), "is no picture"),
        ):
            with pytest.raises(SourceError, match=reason):
                asked.predict(given)  # type: ignore[arg-type]


def _forms(folder: Path) -> dict[str, Path]:
    """One picture in every mode that a file keeps and Pillow opens, turned and not."""
    rgb = picture("red", 3, (48, 32))
    grey = np.asarray(rgb.convert("L"))
    deep = grey.astype(np.uint16) * 257
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(grey))
    see_through = rgb.convert("P")
    turned = Image.Exif()
    turned[0x0112] = 6
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb.png": (rgb, {}), "turned.png": (rgb, {"exif": turned}),
        "turned.jpg": (rgb, {"exif": turned}), "turned.webp": (rgb, {"exif": turned}),
        "turned.tif": (rgb, {"exif": turned}),
        "grey.png": (Image.fromarray(grey), {}), "one.png": (rgb.convert("1"), {}),
        "grey_alpha.png": (alpha.convert("LA"), {}), "alpha.png": (alpha, {}),
        "turned_alpha.png": (alpha, {"exif": turned}),
        "palette.png": (see_through, {}), "palette_hole.png": (see_through, {"transparency": 3}),
        "keyed.png": (rgb, {"transparency": (9, 9, 9)}),
        "deep.png": (Image.fromarray(deep), {}), "deep.tif": (Image.fromarray(deep), {}),
        "turned_deep.png": (Image.fromarray(deep), {"exif": turned}),
        "floats.tif": (Image.fromarray(grey / np.float32(255)), {}),
        "ink.jpg": (rgb.convert("CMYK"), {}), "ink.tif": (rgb.convert("CMYK"), {}),
    }  # fmt: skip
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
    return {name: folder / name for name in made}


def test_an_open_picture_is_what_it_is_in_a_file(base: CLIP, weights: Path, tmp_path: Path) -> None:
    student = YOLOv8(weights)
    for name, path in _forms(tmp_path).items():
        for asked in (partial(base.predict), partial(student.predict, confidence=0)):
            in_file = asked(path)
            with Image.open(path) as opened:
                lazily = asked(opened)
            loaded = Image.open(path)
            loaded.load()
            for found in (lazily, asked(loaded), asked(loaded.copy())):
                assert found.class_id.tolist() == in_file.class_id.tolist(), name
                assert found.confidence == pytest.approx(in_file.confidence, abs=1e-6), name


def test_odd_open_pictures_are_what_they_are_in_files(base: CLIP, shared: Path) -> None:
    seen = 0
    folder = shared / "data" / "odd_files"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            in_file = base.predict(path).confidence
            whole = base.predict(Image.fromarray(np.asarray(read_rgb(path)))).confidence
        except SourceError:
            continue
        with Image.open(path) as opened:
            found = base.predict(opened).confidence
        assert found == pytest.approx(whole, abs=1e-6), path.name
        assert found == pytest.approx(in_file, abs=5e-3), path.name  # large ones are read smaller
        seen += 1
    if not seen:
        pytest.skip(f"needs odd pictures, which are not at {folder}")


def test_arrays_are_what_they_are_in_files(base: CLIP, weights: Path, tmp_path: Path) -> None:
    """As OpenCV reads and writes them: grey, BGR, BGRA, in 8 and 16 bits."""
    import cv2

    student = YOLOv8(weights)
    bgr = np.asarray(picture("red", 3))[..., ::-1]
    grey = bgr[..., 1]
    alpha = np.dstack([bgr, grey])
    for number, array in enumerate(
        (bgr, grey, grey[..., np.newaxis], alpha, grey.astype(np.uint16) * 257)
    ):
        path = tmp_path / f"{number}.png"
        assert cv2.imwrite(str(path), array)
        for asked in (partial(base.predict), partial(student.predict, confidence=0)):
            in_file, in_memory = asked(path), asked(array)
            assert in_memory.class_id.tolist() == in_file.class_id.tolist()
            assert in_memory.confidence == pytest.approx(in_file.confidence, abs=1e-6)
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert base.predict(read).confidence == pytest.approx(base.predict(path).confidence)
