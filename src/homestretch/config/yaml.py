"""Strict YAML that remembers on which line every key stood.

PyYAML's safe loader with YAML 1.2's plain scalars: `1e-5` is a float, `off` and `no` are text, `010` is ten, and a
key that is given twice is refused. Nothing but mappings, lists, text, numbers, booleans and null can come out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from homestretch.errors import RecipeError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Values of a YAML text, and the place of each: `places[("stages", 2, "ppo")]` is `file:line`."""

    values: Any
    name: str
    places: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath = ()) -> str:
        """The place of the key at `path`, or of the nearest key around it; without places the name alone."""
        around = (path[:end] for end in range(len(path), 0, -1))
        return next((self.places[p] for p in around if p in self.places), self.name)


def load_text(text: str, *, name: str) -> Document:
    """Parse one YAML document; `name` stands for the file in messages. Raises RecipeError: `file:line: what`."""
    try:
        loader = _StrictLoader(text)
        loader.source = name
        node = loader.get_single_node()
        if node is None:
            return Document(None, name)
        places = {path: f"{name}:{line}" for path, line in _lines(node, (), [], set(), name)}
        return Document(loader.construct_document(node), name, places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{name}{line}: this is not valid YAML: {_problem(error)}; correct the line.") from None
    except RecursionError:
        raise RecipeError(f"{name}: this is nested too deeply; a recipe has a few levels.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{name}: this is not valid YAML: {' '.join(str(error).split())}.") from None


def load_file(path: str | Path) -> Document:
    """Parse the YAML file at `path`. Raises RecipeError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file; check the path, or see `homestretch recipes ls`.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: this is not UTF-8 text; a recipe is a YAML file.") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    return load_text(text, name=str(path))


def dump_text(values: Any) -> str:
    """`values` as YAML that `load_text` reads back as the same values, keys in the order given."""
    return yaml.dump(values, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110)


def inline(value: Any) -> str:
    """`value` on one line of ASCII, which `load_text` reads back as the same value."""
    # YAML reads the two halves that JSON escapes an emoji as as two characters, and takes some others only escaped.
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False))


class _StrictLoader(yaml.SafeLoader):
    source = "YAML"

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # of PyYAML's stubs
        if tag := getattr(event, "tag", None):
            problem = f"`{tag}` is a tag, which no setting needs"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            line = key_node.start_mark.line + 1
            if key is None:
                raise RecipeError(f"{self.source}:{line}: a key must be a plain name; correct the line.")
            if key in seen:
                raise RecipeError(
                    f"{self.source}:{line}: `{key}` was given before, on line {seen[key]}; keep one of the two."
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 10)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


_PLAIN = [
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+(_[0-9]+)*", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
]
_StrictLoader.yaml_implicit_resolvers = {}
for _class in (_StrictLoader, _PlainDumper):  # the dumper keeps YAML 1.1's too, so that every reader gets 'off' as text
    for _tag, _pattern, _first in _PLAIN:
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _float)


def _lines(node: Node, path: KeyPath, above: list[Node], seen: set[int], name: str) -> Iterator[tuple[KeyPath, int]]:
    if any(node is n for n in above):
        raise RecipeError(f"{name}:{node.start_mark.line + 1}: this value contains itself; write it out.")
    if id(node) in seen or not isinstance(node, MappingNode | SequenceNode):
        return  # an alias: its keys are reported where it is used
    seen.add(id(node))
    if isinstance(node, MappingNode):
        children: list[tuple[str | int, int, Node]] = [
            (str(key.value), key.start_mark.line, value) for key, value in node.value
        ]
    else:
        children = [(index, value.start_mark.line, value) for index, value in enumerate(node.value)]
    for key, line, value in children:
        yield (*path, key), line + 1
        yield from _lines(value, (*path, key), [*above, node], seen, name)


def _problem(error: yaml.MarkedYAMLError) -> str:
    return " ".join((error.problem or error.context or "the text ends too early").split())
