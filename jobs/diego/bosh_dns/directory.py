"""The directory that dnsmasq reads: a file for each name."""

from collections.abc import Mapping
from pathlib import Path


class HostsDirectory:
    """Holds exactly the files that `write` was given last; untouched ones are not written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def missing(self, names: list[str]) -> bool:
        """Whether one of the files is not there yet."""
        return any(not (self._path / name).is_file() for name in names)

    def write(self, files: Mapping[str, str]) -> list[str]:
        """Make the directory say `files`. Returns the names of those that changed or went. Raises OSError."""
        self._path.mkdir(parents=True, exist_ok=True)
        changed = [name for name, text in files.items() if self._write(name, text)]
        for path in self._path.iterdir():
            if path.name not in files:
                path.unlink()
                if not path.name.startswith("."):
                    changed.append(path.name)
        return changed

    def _write(self, name: str, text: str) -> bool:
        path = self._path / name
        try:
            if path.read_text() == text:
                return False
        except FileNotFoundError:
            pass
        fresh = self._path / f".{name}.new"
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)
        return True
