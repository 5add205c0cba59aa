"""YAML as people write it: text becomes plain data whose keys are all text, or one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import yaml

_HALF = re.compile("[\ud800-\udfff]")
_MERGE = "tag:yaml.org,2002:merge"


class Document:
    """What a YAML file holds.

    Attributes:
        data: dicts with text as keys, lists and scalars; anything where the file is no mapping.
        only_merged: keys of the file itself whose mapping is merged (`<<`) into another one.
    """

    def __init__(self, data: Any, root: yaml.Node | None, loader: _Loader | None) -> None:
        self.data = data
        self._root, self._loader = root, loader
        self.only_merged = (
            {key for key, node in loader.entries(root).items() if id(node) in loader.merged}
            if isinstance(root, yaml.MappingNode) and loader is not None
            else set()
        )

    def spelling(self, place: Sequence[str | int]) -> str | None:
        """Return how the scalar at a place (keys and list indices) is written in the file."""
        node = self._root
        for part in place:
            if isinstance(node, yaml.MappingNode) and self._loader is not None:
                node = self._loader.entries(node).get(str(part))
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
        return node.value if isinstance(node, yaml.ScalarNode) else None


def read_yaml(text: str) -> Document:
    """Read a YAML text.

    A list as key stands for each of its entries; `<<` merges as YAML 1.1 describes it; numbers may
    be written as in YAML 1.2 (`1e-3`).

    Raises:
        ValueError: it cannot be read; the message says what is wrong and where.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
        return Document(data, root, loader)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ValueError(
            f"the character U+{int(error.character):04X} must not stand in it "
            f"(line {line}, column {column})"
        ) from None
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply, or within itself") from None
    finally:
        if loader is not None:
            loader.dispose()


def as_read(spelled: str, value: Any) -> str:
    """Say what YAML made of a word that was meant as text, and how to write it."""
    if value is None:
        meaning = "nothing"
    elif isinstance(value, bool):
        meaning = str(value).lower()
    elif isinstance(value, (int, float)):
        meaning = f"the number {value!r}" if len(str(value)) < 30 else "a number"
    elif isinstance(value, date):
        meaning = "a date"
    else:
        meaning = "no text"
    if not spelled:
        return "nothing is written there. Write what is meant"
    return f'YAML reads `{spelled}` as {meaning}; write "{spelled}" in quotes'


class _Loader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word, lets a merge grow without bounds, and
    raises whatever Python raises where a scalar is not what its form promises."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.merged: set[int] = set()  # the `id` of every mapping that was merged into another
        self._entries: dict[int, dict[str, yaml.Node]] = {}

    def entries(self, node: yaml.MappingNode) -> dict[str, yaml.Node]:
        """Return the node of each key of a mapping, with what is merged into it."""
        if id(node) not in self._entries:
            own: dict[str, yaml.Node] = {}
            inherited: dict[str, yaml.Node] = {}
            for key_node, value in node.value:
                if key_node.tag == _MERGE:
                    for parent in self._parents(value):
                        inherited = self.entries(parent) | inherited
                    continue
                for key in self._keys(key_node):
                    if key in own:
                        raise _error(f"the key {key!r} stands here twice; keep one of them",
                                     key_node)  # fmt: skip
                    own[key] = value
            self._entries[id(node)] = inherited | own
        return self._entries[id(node)]

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _error("`key: value` lines were expected", node)
        return {
            key: self.construct_object(value, deep=True)
            for key, value in self.entries(node).items()
        }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            found = super().construct_object(node, deep=True)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            # An impossible date, a number of thousands of digits, `!!bool maybe`, …
            shown = str(node.value)[:40]
            raise _error(
                f"{shown!r} cannot be read as {node.tag.rsplit(':', 1)[-1]}; put it in quotes if "
                "it is meant as text",
                node,
            ) from None

        if isinstance(found, str) and _HALF.search(found):
            raise _error("half a character (an escape from D800 to DFFF) stands in it", node)
        return found

    def _parents(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(one, yaml.MappingNode):
                raise _error("`<<` takes a mapping or a list of mappings", one)
            self.merged.add(id(one))
            yield one

    def _keys(self, node: yaml.Node) -> Iterator[str]:
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(one, yaml.ScalarNode):
                raise _error("a key is text, or a list of texts that have the same value", one)
            key = self.construct_object(one)
            if not isinstance(key, str):
                raise _error(f"a key must be text: {as_read(one.value, key)}", one)
            yield key


# YAML 1.1 wants a dot and a sign in `1.0e-3`; everybody else reads 1e-3 as a number, too.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
# A lone `=` has a meaning that nobody uses.
_Loader.yaml_constructors = {
    **yaml.SafeLoader.yaml_constructors,
    "tag:yaml.org,2002:value": yaml.SafeLoader.construct_yaml_str,
}


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    return problem + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")
