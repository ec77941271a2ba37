"""What took long is kept: as a file whose name ends with the hash of all that its content depends on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tf_laq as laq
from research import files
from tf_laq.evaluation import RobustnessReport

Arrays = dict[str, npt.NDArray[Any]]
Facts = Mapping[str, Any]
"""What a result depends on beside the release of tf_laq: JSON-ready values by name."""


class Cache:
    """Results in a folder. One that is there is read; another is made and kept, so a run that was killed goes on.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._reports: dict[Path, RobustnessReport] = {}

    def report(self, name: str, facts: Facts, make: Callable[[Path], RobustnessReport]) -> RobustnessReport:
        """Return a report.

        Args:
            name: What the file's name begins with, for people.
            facts: What the report depends on.
            make: Makes it, with a folder for what an evaluation keeps until it is finished.
        """
        path = self._path(name, facts, "json")
        if path not in self._reports:
            if not path.is_file():
                parts = path.with_suffix(".parts")
                make(parts).save(path)
                shutil.rmtree(parts, ignore_errors=True)
            self._reports[path] = RobustnessReport.load(path)
        return self._reports[path]

    def arrays(self, name: str, facts: Facts, make: Callable[[], Mapping[str, npt.ArrayLike]]) -> Arrays:
        """Return arrays by name; the arguments are those of `report`.

        Raises:
            InputError: The file is damaged.
        """
        path = self._path(name, facts, "npz")
        if not path.is_file():
            content = io.BytesIO()
            np.savez(content, **make())  # type: ignore[arg-type]  # No array is called allow_pickle.
            files.write(path, content.getvalue())
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                return dict(found)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            remedy = "Remove it, and it is made again."
            raise laq.InputError(str(path), expected="arrays", received=repr(error), remedy=remedy) from error

    def _path(self, name: str, facts: Facts, ending: str) -> Path:
        content = json.dumps({"release": laq.__version__, **facts})
        return self.folder / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.{ending}"
