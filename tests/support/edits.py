"""Find-and-replace edits in TOML, by which tests break the code or the template on purpose.

An edit has `find` and `replace`, and optionally `file` and `in`. `find` must occur once in the file; with
`in`, which must itself occur once, the first occurrence after it is meant. A run of white space matches
any white space, so an edit survives reformatting and unrelated changes.
"""

import re
import textwrap
import tomllib


class EditError(Exception):
    """The edit does not apply to the text."""


def load(path):
    """The entries of a file of edits, by name."""
    with open(path, "rb") as file:
        return tomllib.load(file)


def apply(edit, text):
    """The text with the edit applied; raises `EditError` if `find` or `in` is not found, or is ambiguous."""
    start = _once(edit["in"], text).end() if "in" in edit else 0
    found = _pattern(edit["find"]).search(text, start) if "in" in edit else _once(edit["find"], text)
    if not found:
        raise EditError(f"not found: {edit['find']}")
    return text[: found.start()] + _indented(edit["replace"], text, found.start()) + text[found.end() :]


def _once(words, text):
    found = list(_pattern(words).finditer(text))
    if len(found) != 1:
        raise EditError(f"found {len(found)} times: {words}")
    return found[0]


def _pattern(words):
    return re.compile(r"\s+".join(map(re.escape, words.split())))


def _indented(replacement, text, position):
    """The replacement's later lines, indented like the line that it replaces: YAML depends on it."""
    line = text[text.rfind("\n", 0, position) + 1 : position]
    deeper = len(replacement) - len(replacement.lstrip(" "))
    margin = " " * (len(line) - len(line.lstrip(" ")) - deeper)
    return textwrap.indent(replacement, margin).lstrip(" ")
