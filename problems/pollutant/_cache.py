"""A cache of arrays on disk under a content hash. A file that does not hold what was written is made again.

Each dataset is one uncompressed ``.npz``, written under a temporary name in the same folder and then renamed, so that a
reader sees a complete file or none. No pickle is read or written.
"""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

VARIABLE = "DMD_STUDY_CACHE"
"""Environment variable that names the folder of the cache."""


def folder() -> Path:
    """Return the folder of the cache: ``DMD_STUDY_CACHE``, or the system's usual place for caches."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("dmd-study"))


def path(name: str, content: Mapping[str, object]) -> Path:
    """Return the file of a dataset. ``content`` describes it completely: all that shapes it, as JSON values."""
    return folder() / f"{name}-{hashlib.sha256(_text(content).encode()).hexdigest()[:16]}.npz"


def load_or_make(
    name: str, content: Mapping[str, object], make: Callable[[], Arrays], shapes: Mapping[str, Any]
) -> Arrays:
    """Read the arrays of a dataset, or make and keep them.

    A file that is torn or holds something else is replaced, with a warning. A folder that cannot be used is reported
    before any work is done, if that can be known.

    Args:
        name: beginning of the file's name.
        content: all that shapes the dataset, as JSON values.
        make: makes the arrays by name.
        shapes: shape of every array by its name.

    Raises:
        OSError: the folder cannot be used; the message names it and says how to choose another.
    """
    file = path(name, content)
    try:
        return _read(file, content, shapes)
    except (FileNotFoundError, NotADirectoryError):
        pass  # making the folder, below, raises for the second and not for the first
    except PermissionError as error:
        raise _folder_error(file.parent, error) from error
    except Exception as error:  # a damaged archive makes zipfile and numpy raise almost anything
        warnings.warn(f"the cached dataset {file} cannot be used ({error}); it is made again", stacklevel=2)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, {}, content, keep=False)
    except OSError as error:
        raise _folder_error(file.parent, error) from error
    arrays = make()
    try:
        _write(file, arrays, content)
    except OSError as error:
        raise _folder_error(file.parent, error) from error
    return arrays


def _text(content: Mapping[str, object]) -> str:
    return json.dumps(content, sort_keys=True)


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _read(file: Path, content: Mapping[str, object], shapes: Mapping[str, Any]) -> Arrays:
    with file.open("rb") as stream:  # numpy leaves a file of its own open when the archive is torn
        stored = np.load(stream, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("not an .npz archive")
        everything = {name: stored[name] for name in stored.files}
    stored_content, checksum = everything.pop("content", None), everything.pop("checksum", None)
    if stored_content is None or str(stored_content) != _text(content):
        raise ValueError("it holds another dataset")
    if {name: array.shape for name, array in everything.items()} != dict(shapes):
        raise ValueError("its arrays have other names or shapes")
    if str(checksum) != _checksum(everything):
        raise ValueError("its checksum does not match")
    return everything


def _write(file: Path, arrays: Arrays, content: Mapping[str, object], keep: bool = True) -> None:
    temporary = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            np.savez(
                stream,
                allow_pickle=False,
                content=np.array(_text(content)),
                checksum=np.array(_checksum(arrays)),
                **arrays,
            )
            stream.flush()
            os.fsync(stream.fileno())
        if keep:
            temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _folder_error(place: Path, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"datasets are kept in {place}, which must be a writable folder with space left ({error.strerror or error}); "
        f"name another with the environment variable {VARIABLE}",
    )
