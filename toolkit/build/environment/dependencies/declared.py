"""What a project declares without locking it: read from its files as they are, and never by running any of its code."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.build.environment.dependencies.found import read_input, unknown_name
from toolkit.build.setup_files import is_setup_script
from toolkit.errors import BadInput


@dataclass(frozen=True)
class Declared:
    """What a project depends on.

    Attributes:
        file: the file that says so. lines: one requirement (PEP 508) each. files: what was read, by path.
        python: the versions of Python that it asks for, as a specifier; empty for any.
        dynamic: why the files alone don't say it (only the build backend knows); empty where they do.
        reads: the further files that the backend is told to read then.
    """

    file: str
    lines: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    python: str = ""
    dynamic: str = ""
    reads: tuple[str, ...] = ()


def declared_requirements(root: Path, extras: tuple[str, ...], where: str, groups: tuple[str, ...] = ()) -> Declared:
    """What the project in a folder depends on.

    Args:
        extras, groups: of the project, by their names. where: what asks for it, for messages.

    Raises:
        BadInput: there is no such project, extra or group, or a file is broken.
    """
    files: dict[str, bytes] = {}
    for name in ("pyproject.toml", "setup.cfg", "setup.py"):
        if (root / name).is_file():
            files[name] = read_input(root, name, where)
    if not files:
        raise BadInput("there is no pyproject.toml, setup.cfg or setup.py, so there is no project to install", where)
    found = _of_pyproject(files, extras, groups) or _of_setup(files, extras)
    if found is None:
        return Declared(next(iter(files)), (), files)
    return found


def parsed_toml(content: bytes, name: str) -> dict[str, Any]:
    """A TOML file of the project's.

    Raises:
        BadInput: it is none.
    """
    import tomli

    try:
        return tomli.loads(content.decode("utf-8"))
    except ValueError as error:
        line = re.search(r"line (\d+)", str(error))
        raise BadInput(f"it is no TOML: {error}", f"{name}:{line[1]}" if line else name) from None


def _of_pyproject(files: dict[str, bytes], extras: tuple[str, ...], groups: tuple[str, ...]) -> Declared | None:
    if "pyproject.toml" not in files:
        return None
    document = parsed_toml(files["pyproject.toml"], "pyproject.toml")
    project = document.get("project")
    if isinstance(project, dict) and "name" in project:
        dynamic = set(project.get("dynamic") or ()) & {"dependencies", "optional-dependencies"}
        read_from = dict(files)
        lines = [str(line) for line in project.get("dependencies") or ()]
        optional: dict[str, list[str]] = dict(project.get("optional-dependencies") or {})
        for extra in extras:
            found = _spelled(optional, extra)
            if found is None and not dynamic:
                raise unknown_name("extra", extra, optional)
            lines += [str(line) for line in optional.get(found or extra, [])]
        lines += _group_lines(document.get("dependency-groups") or {}, groups)
        return Declared(
            "pyproject.toml",
            tuple(_without_own_extras(lines, str(project["name"]), optional)),
            read_from,
            str(project.get("requires-python") or ""),
            f"its {' and '.join(sorted(dynamic))} are dynamic" if dynamic else "",
            tuple(_read_by_setuptools(document)),
        )
    poetry = (document.get("tool") or {}).get("poetry")
    if isinstance(poetry, dict) and ("dependencies" in poetry or "name" in poetry):
        return _of_poetry(poetry, files, extras, groups)
    return None


def _read_by_setuptools(document: dict[str, Any]) -> list[str]:
    """The files that setuptools reads what is dynamic from."""
    table = ((document.get("tool") or {}).get("setuptools") or {}).get("dynamic") or {}
    found: list[str] = []
    for entry in [*table.values(), *(table.get("optional-dependencies") or {}).values()]:
        files = entry.get("file") if isinstance(entry, dict) else None
        found += [files] if isinstance(files, str) else list(files or ())
    return found


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _spelled(table: dict[str, Any], name: str) -> str | None:
    """The spelling that a table has of an extra's or a group's name. ``My_Extra`` and ``my-extra`` are the same."""
    from toolkit.build.environment.dependencies.found import normalize_name

    return next((one for one in table if normalize_name(one) == normalize_name(name)), None)


def _group_lines(table: dict[str, Any], groups: tuple[str, ...], seen: tuple[str, ...] = ()) -> list[str]:
    """The requirements of dependency groups (PEP 735), with those that they include."""
    lines: list[str] = []
    for asked in groups:
        group = _spelled(table, asked)
        if group is None:
            error = unknown_name("dependency group", asked, table)
            # What a group includes is named in the project's file, and not by a setting.
            raise error if not seen else BadInput(error.message.partition(": ")[2], "pyproject.toml")
        if group in seen:
            raise BadInput(f"the dependency group {group!r} includes itself", "pyproject.toml")
        for entry in table[group]:
            if isinstance(entry, dict):
                lines += _group_lines(table, (str(entry.get("include-group")),), (*seen, group))
            else:
                lines.append(str(entry))
    return lines


def _without_own_extras(lines: list[str], name: str, optional: dict[str, list[str]]) -> list[str]:
    """The lines, with ``name[extra]`` of the project itself replaced by what that extra holds."""
    from toolkit.build.environment.dependencies.found import normalize_name

    kept: list[str] = []
    unread = list(lines)
    seen: set[tuple[str, str | None]] = set()
    while unread:
        line = unread.pop(0)
        own = re.match(r"^([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*(?:;(.*))?$", line.strip())
        if own and normalize_name(own[1]) == normalize_name(name):
            for extra in (one.strip() for one in own[2].split(",")):
                if (extra, own[3]) not in seen:
                    seen.add((extra, own[3]))
                    inner = optional.get(_spelled(optional, extra) or extra, [])
                    unread += [_with_marker(one, own[3].strip()) for one in inner] if own[3] else inner
        elif line not in kept:
            kept.append(line)
    return kept


def _with_marker(line: str, marker: str) -> str:
    """A requirement that holds under one more condition."""
    requirement, semicolon, condition = line.partition(" ;" if " ;" in line else ";")
    return f"{requirement.strip()} ; {f'({condition.strip()}) and ' if semicolon else ''}({marker})"


# --- Poetry's own table -----------------------------------------------------------------------------------------------


def _of_poetry(
    poetry: dict[str, Any], files: dict[str, bytes], extras: tuple[str, ...], groups: tuple[str, ...]
) -> Declared:
    optional = {str(name) for extra in extras for name in _entry(poetry.get("extras") or {}, "extra", extra)}
    table: dict[str, Any] = dict(poetry.get("dependencies") or {})
    for group in groups:
        table.update(_entry(poetry.get("group") or {}, "dependency group", group).get("dependencies") or {})
    lines: list[str] = []
    python = ""
    for name, given in table.items():
        if name.lower() == "python":
            python = poetry_specifier(str(given))
            continue
        for one in given if isinstance(given, list) else [given]:
            if not (isinstance(one, dict) and one.get("optional") and name not in optional):
                lines.append(_poetry_line(name, one))
    return Declared("pyproject.toml", tuple(lines), files, python)


def _entry(table: dict[str, Any], kind: str, name: str) -> Any:
    spelled = _spelled(table, name)
    if spelled is None:
        raise unknown_name(kind, name, table)
    return table[spelled]


def _poetry_line(name: str, given: Any) -> str:
    """A requirement as packaging's standard writes it, of one of Poetry's."""
    if not isinstance(given, dict):
        return f"{name}{poetry_specifier(str(given))}"
    extras = f"[{','.join(given['extras'])}]" if given.get("extras") else ""
    markers = [str(given["markers"])] if given.get("markers") else []
    for part in filter(None, poetry_specifier(str(given.get("python", "*"))).split(",")):
        operator, version = re.match(r"([<>=!~]+)(.*)", part).groups()  # type: ignore[union-attr]
        variable = "python_full_version" if version.count(".") > 1 else "python_version"
        markers.append(f"{variable} {operator} '{version}'")
    if "git" in given:
        revision = next((f"@{given[key]}" for key in ("rev", "tag", "branch") if key in given), "")
        folder = f"#subdirectory={given['subdirectory']}" if given.get("subdirectory") else ""
        target = f" @ git+{given['git']}{revision}{folder}"
    elif "url" in given:
        target = f" @ {given['url']}"
    elif "path" in given:
        raise BadInput(
            f"{name} is the folder {given['path']!r}, which only a lock describes: run `poetry lock`", "pyproject.toml"
        )
    else:
        target = poetry_specifier(str(given.get("version", "*")))
    marker = " ; " + " and ".join(f"({one})" if " or " in one else one for one in markers) if markers else ""
    return f"{name}{extras}{target}{marker}"


def poetry_specifier(text: str) -> str:
    """A version constraint of Poetry's as a specifier of the standard (PEP 440): ``^1.2`` is ``>=1.2,<2``.

    Raises:
        BadInput: it is an alternative (``||``), which the standard can't write.
    """
    text = text.strip()
    if text in ("*", ""):
        return ""
    if "||" in text or " | " in text:
        raise BadInput(
            f"the constraint {text!r} has alternatives, which only Poetry reads: run `poetry lock`", "pyproject.toml"
        )
    parts = []
    for part in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", text):
        part = re.sub(r"\s+", "", part)
        if part.startswith("^"):
            parts.append(_caret(part[1:]))
        elif part.startswith("~") and not part.startswith("~="):
            parts.append(_tilde(part[1:]))
        elif part[:1].isdigit() or part[:1] == "v":
            parts.append(f"=={part.lstrip('v')}")
        elif part.startswith("=") and not part.startswith("=="):
            parts.append(f"={part}")
        else:
            parts.append(part)
    return ",".join(parts)


def _caret(version: str) -> str:
    numbers = [int(one) for one in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0])]
    place = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    upper = [*numbers[:place], numbers[place] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"


def _tilde(version: str) -> str:
    numbers = [int(one) for one in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0])]
    upper = [numbers[0] + 1] if len(numbers) == 1 else [numbers[0], numbers[1] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"


# --- setuptools' own files -----------------------------------------------------------------------------------------------


def _of_setup(files: dict[str, bytes], extras: tuple[str, ...]) -> Declared | None:
    if "setup.cfg" in files:
        import configparser

        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(files["setup.cfg"].decode("utf-8"))
        except (configparser.Error, ValueError) as error:
            raise BadInput(f"it can't be read: {str(error).splitlines()[0]}", "setup.cfg") from None
        if parser.has_option("options", "install_requires"):
            text = parser.get("options", "install_requires")
            for extra in extras:
                if not parser.has_option("options.extras_require", extra):
                    there = (
                        parser.options("options.extras_require") if parser.has_section("options.extras_require") else ()
                    )
                    raise unknown_name("extra", extra, there)
                text += "\n" + parser.get("options.extras_require", extra)
            python = parser.get("options", "python_requires", fallback="")
            if not any(line.strip().startswith(("file:", "attr:")) for line in text.splitlines()):
                lines = [
                    line.strip()
                    for line in re.split(r"[\n]", text)
                    if line.strip() and not line.strip().startswith("#")
                ]
                return Declared("setup.cfg", tuple(lines), files, python)
            return Declared("setup.cfg", (), files, python, "its install_requires names another file")
    if "setup.py" in files and is_setup_script(files["setup.py"]):
        return _of_setup_py(files, extras)
    return None


def _of_setup_py(files: dict[str, bytes], extras: tuple[str, ...]) -> Declared:
    """What a setup.py says in plain lists. Anything else only running it would tell."""
    try:
        tree = ast.parse(files["setup.py"])
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"it is no Python: {error}", "setup.py") from None
    assigned: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            assigned[statement.targets[0].id] = statement.value
    for node in ast.walk(tree):
        is_setup = isinstance(node, ast.Call) and (
            getattr(node.func, "id", "") == "setup" or getattr(node.func, "attr", "") == "setup"
        )
        if not is_setup:
            continue
        assert isinstance(node, ast.Call)
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        values: dict[str, Any] = {}
        for key in ("install_requires", "extras_require", "python_requires"):
            value = given.get(key)
            if isinstance(value, ast.Name):
                value = assigned.get(value.id, value)
            try:
                values[key] = ast.literal_eval(value) if value is not None else None
            except ValueError:
                return Declared("setup.py", (), files, "", f"its {key} is computed")
        if any(keyword.arg is None for keyword in node.keywords):
            return Declared("setup.py", (), files, "", "its arguments are computed")
        lines = values["install_requires"] or []
        lines = lines.splitlines() if isinstance(lines, str) else list(lines)
        optional = values["extras_require"] or {}
        for extra in extras:
            spelled = _spelled(optional, extra)
            if spelled is None:
                raise unknown_name("extra", extra, optional)
            lines += [optional[spelled]] if isinstance(optional[spelled], str) else optional[spelled]
        return Declared(
            "setup.py",
            tuple(str(line).strip() for line in lines if str(line).strip()),
            files,
            values["python_requires"] or "",
        )
    return Declared("setup.py", (), files, "", "it calls no setup() in plain sight")


# --- Pipfile, and scripts -----------------------------------------------------------------------------------------------


def pipfile_requirements(root: Path, name: str) -> Declared:
    """What a Pipfile declares under ``[packages]``.

    Raises:
        BadInput: it is broken, or names what can't be written as a requirement.
    """
    content = read_input(root, name, name)
    document = parsed_toml(content, name)
    from toolkit.build.environment.dependencies.indexes import refuse_indexes

    refuse_indexes(document.get("source") or (), "Pipenv", "pipenv lock", name)
    lines = []
    for package, given in (document.get("packages") or {}).items():
        table = given if isinstance(given, dict) else {"version": given}
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        version = str(table.get("version", "*"))
        if "path" in table or "file" in table:
            raise BadInput(f"{package} is a local file or folder, which only a lock describes: run `pipenv lock`", name)
        target = "" if version == "*" else version
        if "git" in table:
            revision = table.get("ref", "")
            target = f" @ git+{table['git']}{'@' + revision if revision else ''}"
        marker = str(table.get("markers", ""))
        lines.append(f"{package}{extras}{target}" + (f" ; {marker}" if marker else ""))
    python = str((document.get("requires") or {}).get("python_version", ""))
    return Declared(name, tuple(lines), {name: content}, f"=={python}.*" if python else "")


_SCRIPT_BLOCK = r"(?m)^# /// script[ \t]*$\n((?:^#(?:| .*)$\n)+?)^# ///[ \t]*$"


def script_block(comment: bytes) -> bytes:
    """The TOML that the comment of a script holds."""
    lines = comment.splitlines(keepends=True)
    return b"".join(line[2:] if line.startswith(b"# ") else line[1:] for line in lines)


def script_requirements(root: Path, name: str) -> Declared | None:
    """What a script declares in its own comment (PEP 723); None where it has none.

    Raises:
        BadInput: the block is no TOML.
    """
    content = read_input(root, name, name)
    block = re.search(_SCRIPT_BLOCK, content.decode("utf-8", "replace").replace("\r\n", "\n"))
    if block is None:
        return None
    document = parsed_toml(script_block(block[1].encode()), name)
    # The block alone counts: another line of the script changes nothing of the environment.
    return Declared(
        name,
        tuple(map(str, document.get("dependencies") or ())),
        {f"{name}.requirements": block[1].encode()},
        str(document.get("requires-python") or ""),
    )
