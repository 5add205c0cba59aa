"""What all sections of a config are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from pipeline.storage.address import scheme_of

Fraction = Annotated[float, Field(ge=0, le=1)]
MOST = 2**31 - 1  # what every library below can count to
_LONGEST = 86_400.0  # seconds that one answer may take
PositiveInt = Annotated[int, Field(ge=1, le=MOST)]
NotNegative = Annotated[int, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(gt=0, le=_LONGEST)]
Share = Annotated[float, Field(gt=0, le=1)]


def _address(text: str) -> str:
    """Refuse text that names no object store: a path would be one by now."""
    if scheme_of(text) is None:
        raise PydanticCustomError("is_instance_of", "Input should be a path")
    return text


# An address of an object store stays text.
Location: TypeAlias = Path | Annotated[str, AfterValidator(_address)]


def _in_words_of_torch(given: Any) -> Any:
    """Return numbers of GPUs, as ultralytics takes them (`0`, `"0,1"`, `[0, 1]`), as `cuda:0`."""
    parts = given if isinstance(given, list) else [given]
    if not parts or not all(isinstance(part, str) or type(part) is int for part in parts):
        return given
    names = [name.strip() for part in parts for name in str(part).split(",")]
    return ",".join(f"cuda:{name}" if name.isdecimal() else name for name in names)


# One device of torch, or several with commas between them.
Device = Annotated[str, BeforeValidator(_in_words_of_torch)]


class Section(BaseModel):
    """A strict, frozen part of the config: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
