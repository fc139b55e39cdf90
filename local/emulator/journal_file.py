"""File format of the journal: rows of JSON text by key.

A change is appended as a line for each row (key, tab, text; an empty text removes the row) and an empty
line. A change without the empty line was cut off by a crash, and is ignored.
"""

import json

from ministack.core import persistence

to_json = json.JSONEncoder(default=persistence._json_default, separators=(",", ":")).encode


def from_json(text):
    # The slow object hook is needed only for names with leading underscores.
    return json.loads(text, object_hook=persistence._json_object_hook if '"__' in text else None)


def row_key(*parts):
    return to_json(parts)


class JournalFile:
    """Rows and their file."""

    def __init__(self, path):
        self._path = path
        self.rows = {}

    def read(self):
        """Reads all complete changes."""
        change = {}
        for line in self._path.read_text().split("\n")[:-1] if self._path.exists() else []:
            if line:
                key, _, text = line.partition("\t")
                change[key] = text
            else:
                self._apply(change)
                change = {}

    def compact(self, is_needed):
        """Rewrites the file with the needed rows only, and opens the file for writing."""
        self.rows = {key: text for key, text in self.rows.items() if is_needed(key)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".tmp")
        with open(part, "w") as file:
            file.writelines(f"{key}\t{text}\n" for key, text in self.rows.items())
            file.write("\n")
        part.replace(self._path)
        self._file = open(self._path, "a")

    def write(self, rows):
        """Appends all rows with a new text, as a single change."""
        change = {key: text for key, text in rows.items() if self.rows.get(key, "") != text}
        if change:
            self._file.write("".join(f"{key}\t{text}\n" for key, text in change.items()) + "\n")
            self._file.flush()
            self._apply(change)

    def close(self):
        self._file.close()

    def _apply(self, change):
        for key, text in change.items():
            if text:
                self.rows[key] = text
            else:
                self.rows.pop(key, None)
