"""Finished parts of comparisons in an object store, or in another file system that fsspec reaches.

A part is a file or a folder. Its files are uploaded under a prefix that no other upload uses. One small manifest then
names the prefix, and it is written in one step. Readers trust manifests alone, so a part is whole or absent. Two
workers that make the same part upload equal files. The last manifest counts, and the other files stay unread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from germline.errors import ArtefactError, GermlineError, OutputError, SettingError
from germline.files import atomic_file, atomic_folder

CACHE_VARIABLE = "GERMLINE_CACHE"
_DEFAULT_CACHE = "~/.cache/germline"
_LOCAL = ("file", "local")
_BLOCK = 2**20  # bytes that are hashed at a time

# Parts that this process has compared with their manifest, by URL and name. A published part never changes.
_COMPARED: set[tuple[str, str]] = set()


def is_store_url(text: str) -> bool:
    """Tell whether a store is given as a URL such as `s3://bucket/path`, and not as a folder."""
    return "://" in text


@dataclass(frozen=True)
class RemoteStore:
    """Store of finished parts behind a URL, with a local folder of copies.

    Attributes:
        url: URL of the store, such as `s3://bucket/path`.
        cache: Local folder in which parts are made and read.
    """

    url: str
    cache: Path

    @classmethod
    def from_url(cls, url: str, cache: Path | None = None) -> RemoteStore:
        """Open the store of a URL; nothing is read or written.

        Args:
            url: URL of the store.
            cache: Local folder of copies; None: a folder per URL in `GERMLINE_CACHE`, or else in `~/.cache/germline`.

        Raises:
            SettingError: The URL names no place, or needs a package that is not installed.
        """
        scheme, _, place = url.partition("://")
        if not place.strip("/") and scheme != "memory":
            raise SettingError(
                f"the store '{url}' names no place",
                f"Nothing follows {scheme}://",
                f"Use a URL such as {scheme}://PLACE/FOLDER",
            )
        _, root = _open_system(url)
        # A relative path would name another folder in workers, which may have another working folder.
        full = f"file://{root}" if scheme in _LOCAL else url.rstrip("/")
        if cache is None:
            folder = Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE).expanduser().absolute()
            cache = folder / "stores" / hashlib.sha256(full.encode()).hexdigest()[:20]
        return cls(full, cache)

    @property
    def is_private(self) -> bool:
        """Whether other processes cannot see the parts."""
        return self.url.startswith("memory:")

    def check_access(self) -> None:
        """Write a small object and remove it.

        Raises:
            OutputError: The store cannot be written.
        """
        with self._explain_errors():
            system, root = _open_system(self.url)
            probe = f"{root}/files/probe-{secrets.token_hex(8)}"
            system.pipe_file(probe, b"germline")
            system.rm_file(probe)

    def has_part(self, name: str) -> bool:
        """Tell whether a part is published."""
        with self._explain_errors():
            system, root = _open_system(self.url)
            system.invalidate_cache()
            return bool(system.exists(_manifest_path(root, name)))

    def list_parts(self) -> set[str]:
        """List the names of all published parts."""
        with self._explain_errors():
            system, root = _open_system(self.url)
            system.invalidate_cache()
            try:
                paths = system.ls(f"{root}/manifests", detail=False)
            except FileNotFoundError:
                return set()
            return {PurePosixPath(path).name.removesuffix(".json") for path in paths}

    def fetch(self, path: Path) -> bool:
        """Copy a published part to its local path, unless the same files are there.

        Args:
            path: Local path of the part; its name is the part's.

        Returns:
            Whether the part is published.

        Raises:
            ArtefactError: The published part is damaged.
            OutputError: The store cannot be reached, or the local folder cannot be written.
        """
        if (self.url, path.name) in _COMPARED and path.exists():
            return True
        manifest = self._read_manifest(path.name)
        if manifest is None:
            return False
        if _list_files(path) != {name: facts["bytes"] for name, facts in manifest["files"].items()}:
            self._download(path, manifest)
        _COMPARED.add((self.url, path.name))
        return True

    def publish(self, path: Path) -> None:
        """Upload a finished part, unless it is published already.

        Args:
            path: Local path of the part; its name is the part's.

        Raises:
            OutputError: The store cannot be written.
        """
        if (self.url, path.name) in _COMPARED or self._read_manifest(path.name) is not None:
            return
        prefix = f"files/{path.name}/{secrets.token_hex(8)}"
        files: dict[str, Any] = {}
        with self._explain_errors():
            system, root = _open_system(self.url)
            for name, size in sorted(_list_files(path).items()):
                local = path / name if path.is_dir() else path
                files[name] = {"bytes": size, "sha256": _hash_file(local)}
                system.put_file(str(local), f"{root}/{prefix}/{name}")
            manifest = {"prefix": prefix, "is_folder": path.is_dir(), "files": files}
            _write_whole(system, _manifest_path(root, path.name), json.dumps(manifest).encode())
        _COMPARED.add((self.url, path.name))

    def _read_manifest(self, name: str) -> dict[str, Any] | None:
        """Read the manifest of a part; None: the part is not published."""
        with self._explain_errors():
            system, root = _open_system(self.url)
            try:
                data = system.cat_file(_manifest_path(root, name))
            except FileNotFoundError:
                return None
        try:
            manifest: dict[str, Any] = json.loads(data)
            PurePosixPath(manifest["prefix"])
            is_whole = all({"bytes", "sha256"} <= facts.keys() for facts in manifest["files"].values())
        except (ValueError, LookupError, TypeError, AttributeError):
            is_whole = False
        if not is_whole or any(_leads_outside(file) for file in manifest["files"]):
            raise self._damage_error(name, "Its manifest is incomplete")
        return manifest

    def _download(self, path: Path, manifest: Mapping[str, Any]) -> None:
        system, root = _open_system(self.url)
        with atomic_folder(path) if manifest["is_folder"] else atomic_file(path) as fresh:
            for name, facts in manifest["files"].items():
                local = fresh / name if manifest["is_folder"] else fresh
                local.parent.mkdir(parents=True, exist_ok=True)
                with self._explain_errors():
                    try:
                        system.get_file(f"{root}/{manifest['prefix']}/{name}", str(local))
                    except FileNotFoundError as error:
                        raise self._damage_error(path.name, f"Its file {name} is missing") from error
                if _hash_file(local) != facts["sha256"]:
                    raise self._damage_error(path.name, f"Its file {name} has another hash than its manifest says")

    def _damage_error(self, name: str, reason: str) -> ArtefactError:
        manifest = _manifest_path(self.url, name)
        return ArtefactError(
            f"part '{name}' of the store '{self.url}' is damaged",
            reason,
            f"Remove {manifest}, and pass --resume to make the part again",
        )

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Turn errors of the store's library into one message; each kind of store raises errors of its own."""
        try:
            yield
        except GermlineError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"
            raise OutputError(
                f"the store '{self.url}' cannot be used",
                reason,
                "Set the store's credentials and endpoint, or choose another --store",
            ) from error


def _open_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path of the store in it; fsspec keeps open systems."""
    # fsspec is a requirement of torch. Commands that need no remote store do not import it.
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    try:
        system, root = url_to_fs(url.rstrip("/"), **({"auto_mkdir": True} if scheme in _LOCAL else {}))
    except ImportError as error:
        fix = "Run pip install 'germline[s3]'" if scheme == "s3" else "Install the package that the reason names"
        raise SettingError(f"the store '{url}' cannot be opened", f"A package is missing: {error}", fix) from error
    except ValueError as error:
        raise SettingError(
            f"the store '{url}' cannot be opened",
            str(error),
            "Use a folder, or a URL that begins with s3://, gs://, file:// or memory://",
        ) from error
    return system, str(root).rstrip("/")


def _manifest_path(root: str, name: str) -> str:
    return f"{root}/manifests/{name}.json"


def _write_whole(system: Any, path: str, data: bytes) -> None:
    """Write a small file in one step. Object stores do that by themselves; elsewhere a rename does it."""
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    if not set(protocols) & set(_LOCAL):
        system.pipe_file(path, data)
        return
    part = f"{path}.{secrets.token_hex(8)}.part"
    system.pipe_file(part, data)
    Path(part).replace(path)


def _list_files(path: Path) -> dict[str, int]:
    """List the files of a part with their sizes in bytes; a part that is one file has its own name alone."""
    if path.is_file():
        return {path.name: path.stat().st_size}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}


def _leads_outside(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
