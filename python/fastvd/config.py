"""A config to a dict, to YAML and back; strict, with the nearest right key named.

A config is a frozen dataclass; a string under a field is its help. A union of configs is told
apart by their first field, ``kind: Literal[...]``.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import math
import operator
import textwrap
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from fastvd.arguments import check_kind, check_numbers, check_whole, local_path, shown

FORMAT = 1
"""Version of the run's YAML; a file with a higher one was written by a newer fastvd."""

T = TypeVar("T")


def to_dict(config: object) -> dict[str, Any]:
    """Return a config as nested dicts, lists and scalars, in field order."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(cast(Any, config))}
    return {name: _plain(value) for name, value in values.items()}


def from_dict(cls: type[T], data: Mapping[str, Any], *, where: str = "") -> T:
    """Build a config of class ``cls`` from nested dicts.

    Raises ValueError with the full name of a key that is unknown, missing or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where or 'config'}: expected keys and values, got {data!r}")
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cast(Any, cls))]
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in names:
            raise ValueError(f"{prefix}{key}: no such key{nearest(str(key), names)}")
    values = {key: _typed(hints[key], value, prefix + key) for key, value in data.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def override(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return ``data`` with the dotted ``key`` set to ``value``; sections are made on the way."""
    head, _, rest = key.partition(".")
    if not rest:
        return {**data, head: value}
    inner = data.get(head) or {}
    if not isinstance(inner, Mapping):
        raise ValueError(f"{key}: {head} is {inner!r}, not a section")
    return {**data, head: override(inner, rest, value)}


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a config file as a dict, without its ``format`` key.

    Raises ValueError when it is not YAML with keys, or was written by a newer fastvd.
    """
    try:
        data = yaml.safe_load(local_path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(data).__name__}")
    version = data.pop("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise ValueError(f"{path}: format {version} is newer than {FORMAT}, please update fastvd")
    return data


def load_config(path: Path | str, cls: type[T]) -> T:
    """Read a config of class ``cls`` from a YAML file; errors name the file and the key."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(f"cls must be the class of a config, got {shown(cls)}")
    data = read_yaml(path)
    try:
        return from_dict(cls, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_config(path: Path | str, config: object) -> None:
    """Write a config as commented YAML that ``load_config`` reads back equal."""
    local_path(path).write_text(to_yaml(config), encoding="utf-8")


def to_yaml(config: object) -> str:
    """Return a config as YAML, each key with its help as a comment."""
    if isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise TypeError(f"config must be a config, got {shown(config)}")
    return f"format: {FORMAT}\n" + "\n".join(_yaml_lines(config, "")) + "\n"


@functools.cache
def help_texts(cls: Any) -> dict[str, str]:
    """Return the string under each field of a config class, by field name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, doc in zip(tree.body, tree.body[1:], strict=False):
        is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_field and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            name = cast(ast.Name, cast(ast.AnnAssign, field).target).id
            texts[name] = " ".join(str(doc.value.value).split())
    return texts


def check_fields(config: object) -> None:
    """Hold a config's fields to their annotations; its ``__post_init__`` begins with it.

    Raises TypeError for a value of another kind, ValueError for one that is none of its choices or
    no number at all. NumPy's numbers and lists become those of Python, which YAML can tell.
    """
    for name, hint in _hints(cast(Any, type(config))).items():
        object.__setattr__(config, name, _fitted(hint, getattr(config, name), name))


_hints = functools.cache(get_type_hints)


def _fitted(hint: Any, value: Any, name: str) -> Any:
    """``value`` as its annotation says."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _fitted_union(args, value, name)
    if origin is Literal:
        if value not in args:
            choices = ", ".join(map(str, args))
            raise ValueError(f"{name} must be one of {choices}, got {shown(value)}")
        return args[args.index(value)]
    if origin is tuple:
        return _fitted_tuple(args, value, name)
    if origin is dict:
        check_kind(Mapping, **{name: value})
        return {key: _fitted(args[1], item, f"{name}[{key!r}]") for key, item in value.items()}
    if hint in (int, float, bool):
        return _fitted_number(hint, value, name)
    check_kind(hint, **{name: value})
    return str(value) if hint is str else value


def _fitted_number(hint: Any, value: Any, name: str) -> Any:
    if hint is bool:
        # NumPy's truths are equal to Python's, and so are 0 and 1
        if isinstance(value, int | float) != isinstance(value, bool) or value not in (True, False):
            raise TypeError(f"{name} must be True or False, got {shown(value)}")
        return bool(value)
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value}")
    if hint is int:
        check_whole(**{name: value})
        return operator.index(value)
    check_numbers(**{name: value})
    if math.isnan(value):
        raise ValueError(f"{name} must be a number, got {value}")
    return value if isinstance(value, int) else float(value)


def _fitted_tuple(args: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} must be a tuple or a list, got {shown(value)}")
    if args[-1] is not Ellipsis and len(value) != len(args):
        raise ValueError(f"{name} must be {len(args)} values, got {shown(value)}")
    return tuple(_fitted(args[0], item, f"each of {name}") for item in value)


def _fitted_union(args: tuple[Any, ...], value: Any, name: str) -> Any:
    choices = [arg for arg in args if arg is not type(None)]
    if len(choices) < len(args) and value is None:
        return None
    if len(choices) == 1:
        return _fitted(choices[0], value, name)
    if not isinstance(value, tuple(choices)):
        wanted = " or ".join(map(_hint_name, choices))
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    return value


def documented(cls: type[T]) -> type[T]:
    """Let ``help`` of a config class tell the help of its fields; to be put above ``dataclass``."""
    cls.__doc__ = _Doc(inspect.cleandoc(cls.__doc__ or ""))  # type: ignore[assignment]
    return cls


class _Doc:
    """A docstring made when it is asked for: the source it is in takes milliseconds to parse."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, _: object, cls: type) -> str:
        texts = (f"{name}: {text}" for name, text in help_texts(cls).items())
        wrapped = textwrap.TextWrapper(96, initial_indent=" " * 4, subsequent_indent=" " * 8)
        fields = map(wrapped.fill, texts)
        return "\n".join([self._text, "", "Attributes:", *fields])


def _yaml_lines(config: object, indent: str) -> list[str]:
    lines = []
    texts = help_texts(cast(Any, type(config)))
    for field in dataclasses.fields(cast(Any, config)):
        value = getattr(config, field.name)
        comment = textwrap.wrap(texts.get(field.name, ""), 96 - len(indent))
        lines += [f"{indent}# {line}" for line in comment]
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{field.name}:", *_yaml_lines(value, indent + "  ")]
        else:
            text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6)
            lines.append(f"{indent}{field.name}: {text.removesuffix('...' + chr(10)).strip()}")
    return lines


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def nearest(key: str, names: Sequence[str]) -> str:
    """Name what ``key`` may have been meant for, or all there is: the end of an error's line."""
    close = difflib.get_close_matches(key, names, n=1)
    return f", did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``hint`` wants it, or raise ValueError that names the key."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _typed_union(args, value, where)
    if hasattr(hint, "__dataclass_fields__"):
        return from_dict(hint, value, where=where)
    if origin is Literal:
        if value not in args:
            choices = ", ".join(map(str, args))
            raise ValueError(f"{where}: {value!r} is none of {choices}{_did_you_mean(value, args)}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return _typed_tuple(args, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _typed(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _typed_scalar(hint, value, where)


def _typed_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = {_kind(arg): arg for arg in args if hasattr(arg, "__dataclass_fields__")}
    if isinstance(value, Mapping) and len(kinds) > 1:
        kind = value.get("kind")
        if kind not in kinds:
            raise ValueError(f"{where}.kind: {kind!r} is none of {', '.join(kinds)}")
        return from_dict(kinds[kind], value, where=where)
    choices = [arg for arg in args if arg is not type(None)]
    if len(choices) == 1:
        return _typed(choices[0], value, where)
    for arg in choices:
        try:
            return _typed(arg, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: expected {' or '.join(map(_hint_name, choices))}, got {value!r}")


def _typed_tuple(args: tuple[Any, ...], value: Sequence[Any], where: str) -> tuple[Any, ...]:
    if args[-1] is Ellipsis:
        return tuple(_typed(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(args) != len(value):
        raise ValueError(f"{where}: expected {len(args)} values, got {list(value)!r}")
    pairs = enumerate(zip(args, value, strict=True))
    return tuple(_typed(arg, item, f"{where}[{i}]") for i, (arg, item) in pairs)


def _typed_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or (inspect.isclass(hint) and type(value) is hint):
        return value
    raise ValueError(f"{where}: expected {_hint_name(hint)}, got {value!r}")


def _hint_name(hint: Any) -> str:
    return "a list" if get_origin(hint) is tuple else getattr(hint, "__name__", str(hint))


def _kind(cls: Any) -> str:
    field = dataclasses.fields(cls)[0]
    if field.name != "kind":
        raise TypeError(f"{cls.__name__} is in a union of configs and must begin with kind")
    return str(field.default)


def _did_you_mean(value: Any, choices: Sequence[Any]) -> str:
    close = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    return f", did you mean {close[0]}?" if close else ""
