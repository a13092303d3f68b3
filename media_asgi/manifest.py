"""
Names of static files that hold a hash of the content, as the storage of Django's static files made
them.
"""

import os
from collections.abc import Mapping
from typing import Any

from django.conf import settings


class ManifestNames:
    """The names in the manifest of ``ManifestStaticFilesStorage`` or a subclass.

    ``collectstatic`` may write another manifest while the server runs. So it is looked at again
    where a name is in none that was read.
    """

    def __init__(self) -> None:
        from django.contrib.staticfiles.storage import ManifestFilesMixin
        from django.core.files.storage import storages

        # Not the storage of the process, which keeps the script name of the request that makes it.
        backend: Any = storages.backends.get("staticfiles")
        storage: Any = backend and storages.create_storage(backend)
        self._storage = storage if isinstance(storage, ManifestFilesMixin) else None
        self._signature: object = None
        self._originals: set[str] = set()
        self._hashed: set[str] = set()
        if self._storage is not None:
            self._add(self._storage.hashed_files)
            self._read(self._storage)

    def has(self, path: str) -> bool:
        # With DEBUG the storage gives each file's URL without a hash.
        if self._storage is None or settings.DEBUG:
            return False
        if not self.knows(path):
            self._read(self._storage)
        return path in self._hashed

    def knows(self, path: str) -> bool:
        """Will the answer for this path stay the same?"""
        return self._storage is None or path in self._hashed or path in self._originals

    def _read(self, storage: Any) -> None:
        # On the event loop, without a thread: a file beside the manifest was just opened. A new
        # manifest is read once for each deployment.
        try:
            stat_result = os.stat(storage.manifest_storage.path(storage.manifest_name))
            signature = stat_result.st_ino, stat_result.st_mtime_ns, stat_result.st_ctime_ns
            if signature != self._signature:
                self._add(storage.load_manifest()[0])
                self._signature = signature
        except (OSError, ValueError, NotImplementedError):
            pass  # not there yet, being written, or not in a folder of this machine

    def _add(self, names: Mapping[str, str]) -> None:
        # The names of the manifests before stay. Pages with them are still open somewhere.
        self._originals.update(names)
        self._hashed.update(names.values())
        self._hashed -= self._originals  # a name without a hash
