"""The YAML of a run: its keys, strict loading, and paths that are relative to the file itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline.complaints import Place, sentences
from pipeline.errors import ConfigError, describe_os_error
from pipeline.files import expanded, naming
from pipeline.pixels import MAX_PIXELS
from pipeline.storage.address import check_address, scheme_of
from pipeline.values import Limit, Sampling, parse_limit, seconds_of
from pipeline.yaml_text import read_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]
_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors", ".npz", ".npy")  # files that open_clip reads
_MOST = 2**31 - 1  # what every library below can count to
_LONGEST = 86_400.0  # seconds that one answer may take
PositiveInt = Annotated[int, Field(ge=1, le=_MOST)]
NotNegative = Annotated[int, Field(ge=0, le=_MOST)]
Seconds = Annotated[float, Field(gt=0, le=_LONGEST)]
Share = Annotated[float, Field(gt=0, le=1)]


def _address(text: str) -> str:
    """Refuse text that names no object store: a path would be one by now."""
    if scheme_of(text) is None:
        raise PydanticCustomError("is_instance_of", "Input should be a path")
    return text


# An address of an object store stays text.
Location: TypeAlias = Path | Annotated[str, AfterValidator(_address)]


class Section(BaseModel):
    """A strict, frozen part of the config: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SourceConfig(Section):
    """Where images come from. What is said of frames holds for videos only."""

    path: Location
    column: str | None = None  # of Parquet files, that holds image files
    every: str | PositiveInt | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    skip_similar: bool = False

    @model_validator(mode="after")
    def _one_rate(self) -> SourceConfig:
        if self.every is not None and self.fps is not None:
            raise ValueError("give either `every` or `fps`, not both")
        if isinstance(self.every, str):
            seconds_of(self.every)
        if isinstance(self.path, str):
            check_address(self.path)
            if self.names_frames:
                raise ValueError("`every`, `fps` and `skip_similar` ask for films; copy them here")
        return self

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video are taken; one a second where nothing was said."""
        if isinstance(self.every, int):
            return Sampling(self.every, None, self.skip_similar)
        seconds = 1 / self.fps if self.fps else seconds_of(self.every or "1s")
        return Sampling(None, seconds, self.skip_similar)

    @property
    def names_frames(self) -> bool:
        """Whether something is said of frames, so that a video is meant."""
        return self.every is not None or self.fps is not None or self.skip_similar


class PreprocessConfig(Section):
    """How weights take their pictures, for those that do not say it. RGB on the scale 0 to 1."""

    mean: Annotated[list[Fraction], Field(min_length=3, max_length=3)] | None = None
    std: Annotated[list[Share], Field(min_length=3, max_length=3)] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None


class TeacherConfig(Section):
    """Who labels."""

    key: ClassVar[str] = "teacher"  # where these settings stand, for messages

    kind: str = "open_clip"
    model: str = "pocket"
    pretrained: str | None = None
    preprocess: PreprocessConfig = PreprocessConfig()  # kind open_clip, as the next
    quick_gelu: bool | None = None  # the activation: OpenAI's weights have it
    device: str = "auto"  # cpu, mps, cuda, cuda:1; cuda:0,cuda:1 for a process on each of several
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Literal["auto", "always", "never"] = "auto"  # torch.compile
    batch: PositiveInt | None = None  # images at once; by default what suits the device
    weight: Annotated[float, Field(gt=0)] = 1.0  # among several teachers
    trust_remote_code: bool = False  # kind transformers: run Python that a model brings
    url: str = "https://infer.roboflow.com"  # kind inference: the server
    connections: Annotated[int, Field(ge=1, le=64)] = 8  # kind inference: requests at a time
    timeout: Seconds = 60.0  # kind inference: seconds for one answer
    retries: Annotated[int, Field(ge=0, le=20)] = 6  # kind inference: waiting longer each time


class SpaceConfig(TeacherConfig):
    """What sees the images beside the teachers, without words: any image tower. Of a teacher's
    settings those apply that say how it computes."""

    key: ClassVar[str] = "label.space"

    model: str = ""  # kind student: by default `student.model`
    size: Annotated[int, Field(ge=32, le=2048)] | None = None  # pixels; kind timm, student

    @model_validator(mode="after")
    def _names_a_model(self) -> SpaceConfig:
        if not self.model and self.kind != "student":
            raise ValueError("`model` is missing; `clip2yolo teachers --spaces` lists some")
        return self


class LabelConfig(Section):
    """How images are labeled, and when a guess becomes a label."""

    min_confidence: Fraction = 0.5
    min_margin: Fraction = 0.0
    refine: Literal["auto", "always", "none"] = "auto"  # by the batch: see `pipeline.labels.refine`
    prompts: Literal["sum", "mean"] = "sum"  # how the prompts of a class become its probability
    prior: dict[str, Share] = {}  # class → its share of the images, where that is known
    reject: Literal["auto", "none"] | Fraction = "none"  # abstain on what fits no class
    space: SpaceConfig | None = None  # a second, purely visual space: see `pipeline.spaces`
    engine: Literal["local", "ray"] = "local"  # who computes: this machine, or a Ray cluster
    address: str | None = None  # of a Ray cluster that is there; by default one starts here
    vectors: Location | None = None  # where a cluster leaves vectors: a shared folder, an address

    @model_validator(mode="after")
    def _has_a_cluster(self) -> LabelConfig:
        if self.engine == "local" and (self.address or self.vectors):
            raise ValueError("`address` and `vectors` are for a cluster; add `engine: ray`")
        return self


class BackgroundConfig(Section):
    """The class for everything else; kept as a class of the dataset, or left out of it."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class")
    keep: bool = True


class SplitsConfig(Section):
    """Shares of the dataset; they sum to 1."""

    train: Fraction = 0.8
    valid: Fraction = 0.1
    test: Fraction = 0.1

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitsConfig:
        if abs(self.train + self.valid + self.test - 1) > 1e-6:
            raise ValueError("train, valid and test must sum to 1")
        if self.train == 0 or self.valid == 0:
            raise ValueError("train and valid must be above 0: a student needs both")
        return self


class DatasetConfig(Section):
    """How accepted labels become folders."""

    splits: SplitsConfig = SplitsConfig()
    seed: int = 0
    near_duplicate: Fraction | None = 0.98
    files: Literal["copy", "link"] = "copy"


class StudentConfig(Section):
    """What is trained, and how. Names and meanings are ultralytics' own."""

    model: str = "yolov8n-cls.yaml"
    imgsz: Annotated[int, Field(ge=32, le=2048)] = 224
    fit: Literal["crop", "pad", "stretch"] = "stretch"  # how a picture becomes a square
    epochs: PositiveInt = 30
    batch: PositiveInt = 32
    seed: NotNegative = 0
    device: str = "auto"
    workers: NotNegative = 2
    start: Literal["scratch", "promoted"] = "scratch"  # "promoted": from the student in use
    keep: PositiveInt = 5  # evaluated students in `students/`
    distill: Literal["soft", "hard"] = "soft"  # learn probabilities of all images, or labels
    balance: Literal["none", "sample", "loss"] = "none"  # how rare classes are made up for
    # 2: what a first student has learned to see counts, too. auto: 2 with soft labels.
    rounds: Literal["auto", 1, 2] = "auto"
    train: dict[str, bool | int | float | str] = {}  # any further ultralytics setting


class ExportConfig(Section):
    """A format of another runtime, see `pipeline.export.formats`."""

    format: Literal["onnx", "openvino", "torchscript", "tensorrt", "ncnn", "litert", "coreml"]
    precision: Literal["fp32", "fp16", "int8"] = "fp32"


def _different(exports: list[ExportConfig]) -> list[ExportConfig]:
    if len(set(exports)) < len(exports):
        raise ValueError("one format stands here twice at one precision; name each once")
    return exports


class EvaluateConfig(Section):
    """What is measured beyond the accuracy, and what a student must reach to be used."""

    latency_images: Annotated[int, Field(ge=8, le=_MOST)] = 100
    cold_starts: bool = True  # whether each contender is also started in a new process
    disagreements: NotNegative = 24
    suspects: NotNegative = 100  # of the learned labels the likeliest errors; 0: not looked for
    # What looks like a learned image: kept among the held-out ones, or left out of them.
    look_alikes: Literal["keep", "leave_out"] = "leave_out"
    gates: dict[Literal["accuracy", "agreement", "speedup", "regression"], str] = {}
    margin: Fraction = 0.01  # a student that is worse than the promoted one by more is not promoted

    @model_validator(mode="after")
    def _gates_can_be_read(self) -> EvaluateConfig:
        for name, text in self.gates.items():
            parse_limit(name, text)
        return self

    @property
    def limits(self) -> list[Limit]:
        """The gates, read."""
        return [parse_limit(name, text) for name, text in self.gates.items()]


class ReviewConfig(Section):
    """When the review page says that it is enough."""

    # Share of all labels that a minute of answers must be expected to put right.
    until: Fraction = 0.001


class RoboflowConfig(Section):
    """Where `upload`, `pull` and `deploy` go. The key is not a setting: see the README."""

    project: str | None = None  # its id, as in the address of its page
    workspace: str | None = None  # by default the key's own
    batch: str | None = None  # by default the run's name
    license: str = "Private"  # of a project that is created
    connections: Annotated[int, Field(ge=1, le=32)] = 8  # images under way at a time
    timeout: Seconds = 60.0  # seconds for one answer
    retries: Annotated[int, Field(ge=0, le=20)] = 8  # waiting longer each time


class Config(Section):
    """A whole run. `file` is where it was read from; every path in it is absolute."""

    file: Path = Field(exclude=True)
    workspace: Path
    sources: list[SourceConfig] = Field(alias="source", min_length=1)
    # Of what is decoded: a large JPEG at a part of its size, see `pipeline.pixels.jpeg.reduction`.
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    truth: Path | None = None
    pool_truth: Path | None = None
    ontology: dict[str, str]  # prompt → class; may be left out where there are examples
    examples: dict[str, Annotated[list[Location], Field(min_length=1)]] = {}  # class → pictures
    describe: dict[str, list[str]] = {}
    templates: Literal["none", "photo", "openai7"] | list[str] = "none"
    background: BackgroundConfig | None = None
    teachers: list[TeacherConfig] = Field([TeacherConfig()], alias="teacher", min_length=1)
    label: LabelConfig = LabelConfig()
    dataset: DatasetConfig = DatasetConfig()
    student: StudentConfig = StudentConfig()
    exports: Annotated[list[ExportConfig], AfterValidator(_different)] = Field([], alias="export")
    evaluate: EvaluateConfig = EvaluateConfig()
    review: ReviewConfig = ReviewConfig()
    roboflow: RoboflowConfig = RoboflowConfig()

    def with_precision(self, precision: str | None) -> Config:
        """Return the config with all teachers, and the space, at one precision; None leaves it as
        it is."""
        if precision is None:
            return self
        said = {"precision": precision}
        teachers = [teacher.model_copy(update=said) for teacher in self.teachers]
        space = self.label.space and self.label.space.model_copy(update=said)
        label = self.label.model_copy(update={"space": space})
        return self.model_copy(update={"teachers": teachers, "label": label})

    def with_exports(self, exports: list[ExportConfig]) -> Config:
        """Return the config with these exports in the place of its own."""
        return self.model_copy(update={"exports": exports})

    def with_engine(self, engine: str | None, address: str | None) -> Config:
        """Return the config with another `label.engine`, and the address of its cluster; None
        leaves either as it is. An address alone asks for Ray.

        Raises:
            ConfigError: an address is given for this machine's own engine.
        """
        if engine is None and address is None:
            return self
        if engine == "local" and address is not None:
            raise ConfigError(
                "`--address` names a Ray cluster; leave it out with `--engine local`."
            )
        said: dict[str, Any] = {"engine": engine or "ray"}
        if address is not None:
            said["address"] = address
        return self.model_copy(update={"label": self.label.model_copy(update=said)})

    def with_refine(self, refine: str | None) -> Config:
        """Return the config with another `label.refine`; None leaves it as it is."""
        if refine is None:
            return self
        return self.model_copy(update={"label": self.label.model_copy(update={"refine": refine})})


def load_config(path: Path) -> Config:
    """Read and check a config file.

    Paths in it are taken relative to the file, `~` is the home folder. A missing `workspace` is
    `runs/<file name>` beside the file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has a wrong key or value; the message
            names the file, the dotted key and the remedy.
    """
    path = expanded(path).absolute()
    try:
        with naming(path):
            text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"The config cannot be read. {describe_os_error(error)}") from error
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}.") from None
    if not isinstance(document.data, dict):
        raise ConfigError(
            f"{path} must hold `key: value` lines (source, ontology, …). "
            "`clip2yolo init` writes one to start from."
        )
    known = {field.alias or name for name, field in Config.model_fields.items()}
    data = {
        key: value
        for key, value in document.data.items()
        if key in known or key not in document.only_merged
    }
    return parse_config(data, path, document.spelling)


def parse_config(
    given: dict[str, Any], file: Path, spelling: Callable[[Place], str | None] = lambda _: None
) -> Config:
    """Check `given` as the content of the config `file` (see `load_config`).

    Args:
        spelling: how the scalar at a place is written in the file, where that is known.
    """
    data = dict(given)
    if "file" in data:
        raise ConfigError(f"{file}: `file` is not a key that is known. Remove it.")
    data["file"] = file
    data.setdefault("workspace", f"runs/{file.stem}")
    base = file.parent
    for key in ("workspace", "truth", "pool_truth"):
        if isinstance(data.get(key), str) and data[key].strip():
            if (scheme := scheme_of(data[key])) is not None:
                raise ConfigError(
                    f"{file}: `{key}` begins with {scheme}://, and must be a path on this machine. "
                    "A table of truth may name images by their addresses."
                )
            data[key] = _absolute(base, data[key])
    if "source" in data:
        data["source"] = _sources(data["source"], base, file)
    if data.get("examples"):
        data["examples"] = _examples(data["examples"], base, file)
        data.setdefault("ontology", {})
    data["teacher"] = _teachers(data.get("teacher", {}), base)
    if isinstance(data.get("label"), dict) and "space" in data["label"]:
        data["label"] = {**data["label"], "space": _space(data["label"]["space"], base)}
    if isinstance(data.get("label"), dict) and isinstance(data["label"].get("vectors"), str):
        vectors = _place(base, data["label"]["vectors"], f"{file}: `label.vectors`")
        data["label"] = {**data["label"], "vectors": vectors}
    data["student"] = with_model_paths(data.get("student", {}), "student", base)
    data["export"] = _exports(data.get("export", []))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = sentences(error, given, spelling)
        raise ConfigError(*(f"{file}: {text}" for text in problems)) from None


def _sources(given: Any, base: Path, file: Path) -> Any:
    """One source or several, each a path or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"path": one} if isinstance(one, str) else one for one in several]
    return [
        one | {"path": _place(base, one["path"], f"{file}: `source`")}
        if isinstance(one, dict) and isinstance(one.get("path"), str) and one["path"].strip()
        else one
        for one in named
    ]


def _place(base: Path, text: str, where: str) -> Path | str:
    """An address as it is, a path made absolute.

    Raises:
        ConfigError: it is an address that cannot be read, or holds a credential. Its words are not
            repeated.
    """
    if scheme_of(text) is None:
        return _absolute(base, text)
    try:
        check_address(text)
    except ValueError as error:
        raise ConfigError(f"{where} {error}.") from None
    return text


def _examples(given: Any, base: Path, file: Path) -> Any:
    """The places of each class's examples, one or several, as a list of paths."""
    if not isinstance(given, dict):
        return given
    lists = {
        name: places if isinstance(places, list) else [places] for name, places in given.items()
    }
    return {
        name: [
            _place(base, one, f"{file}: `examples`")
            if isinstance(one, str) and one.strip()
            else one
            for one in places
        ]
        for name, places in lists.items()
    }


def _teachers(given: Any, base: Path) -> Any:
    """One teacher or several, each a name or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"model": one} if isinstance(one, str) else one for one in several]
    return [with_model_paths(one, "teacher", base) for one in named]


def _exports(given: Any) -> Any:
    """One export or several, each a format's name or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    return [{"format": one} if isinstance(one, str) else one for one in several]


def _space(given: Any, base: Path) -> Any:
    """A space, its name or a mapping, as a mapping; None for none."""
    if given == "none":
        return None
    if isinstance(given, str):
        given = {"kind": "student"} if given == "student" else {"model": given}
    student = isinstance(given, dict) and given.get("kind") == "student"
    return with_model_paths(given, "student" if student else "teacher", base)


def _absolute(base: Path, text: str) -> Path:
    # Not resolve(): a link that a person named stays the link that they named. `a/../b` becomes
    # `b`, unless `a` is a link and that would be another place.
    if "\0" in text:
        raise ConfigError(f"{text!r} cannot be a path: no file has such a name. Correct it.")
    path = (base / expanded(Path(text))).absolute()
    short = Path(os.path.normpath(path))
    return short if os.path.realpath(short) == os.path.realpath(path) else path


def with_model_paths(part: Any, section: str, base: Path) -> Any:
    """Make `local-dir:x`, `./x.pt` and a teacher's `pretrained: weights/x.pt` absolute; names such
    as `ViT-B-32` and tags such as `laion2b_s34b_b88k` stay names.

    Args:
        part: the settings of one teacher or of the student, checked or not.
        section: "teacher" or "student". A teacher's model may have a slash in its name.
        base: the folder that paths are relative to.
    """
    if not isinstance(part, dict):
        return part
    model, pretrained = part.get("model"), part.get("pretrained")
    paths = {}
    if isinstance(model, str) and model.startswith("local-dir:"):
        paths["model"] = f"local-dir:{_absolute(base, model.removeprefix('local-dir:'))}"
    elif isinstance(model, str) and (
        model.startswith((".", "~", "/"))
        or (section == "student" and "/" in model and not model.startswith("hf-hub:"))
    ):
        paths["model"] = str(_absolute(base, model))
    if isinstance(pretrained, str) and (
        "/" in pretrained or pretrained.startswith("~") or Path(pretrained).suffix in _WEIGHTS
    ):
        paths["pretrained"] = str(_absolute(base, pretrained))
    return {**part, **paths}
