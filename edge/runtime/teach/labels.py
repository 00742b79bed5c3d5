"""Names of classes, as users type them; standard library alone."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from edge.errors import UsageError
from edge.runtime.printable import one_line

MOST_LABEL_CHARACTERS: Final = 100
NO_CLASS: Final = "knows no class yet: teach one"  # what a bundle to begin with is said to be


def checked_label(text: str) -> str:
    """Return a class name as a user typed it, in Unicode's composed form (NFC).

    Raises:
        UsageError: Empty, too long, or with characters that cannot be shown.
    """
    label = unicodedata.normalize("NFC", text)
    if not label.strip() or label != label.strip():
        raise UsageError(
            f"the label {text!r} is empty, or begins or ends with a space", hint="Name a class."
        )
    if len(label) > MOST_LABEL_CHARACTERS:
        raise UsageError(
            f"the label has {len(label)} characters; at most {MOST_LABEL_CHARACTERS} are allowed"
        )
    if any(
        unicodedata.category(item) in _NOT_SHOWN or item in _TURNING | _UNSEEN for item in label
    ):
        raise UsageError(
            f"the label '{one_line(text)}' has a character that cannot be shown",
            hint="Letters, digits, signs and spaces are allowed, in any script.",
        )
    return label


# Control, surrogate (a byte that is not UTF-8), not assigned, private; line and paragraph breaks.
_NOT_SHOWN: Final = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})
_TURNING: Final = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # the direction
# No width: two labels would look like one. The joiners of emoji and of Indic scripts are allowed.
_UNSEEN: Final = frozenset("\u00ad\u180e\u200b\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff") | {
    chr(code) for code in range(0xE0000, 0xE0080)
}


def known_label(label: str, known: Sequence[str]) -> str:
    """Return a checked label as a list of classes writes it, if that has the class.

    Raises:
        UsageError: It differs from a class of the list in capitals alone.
    """
    for name in known:
        composed = unicodedata.normalize("NFC", name)
        if composed == label:
            return name
        if composed.casefold() == label.casefold():
            raise UsageError(
                f"the bundle has the class {name!r}; {label!r} differs in capitals alone",
                hint=f"Teach {name!r}, or choose another label.",
            )
    return label


def found_label(text: str, taught: Iterable[str], built: Iterable[str]) -> str:
    """Return a label that a user typed as it was taught.

    Args:
        text: What the user typed.
        taught: The classes that were taught.
        built: The classes of the release, which are not to be changed.

    Raises:
        UsageError: No class of that name was taught.
    """
    wanted, labels = unicodedata.normalize("NFC", text), list(taught)
    for label in labels:
        if unicodedata.normalize("NFC", label) == wanted:
            return label
    if any(unicodedata.normalize("NFC", label) == wanted for label in built):
        raise UsageError(
            f"the bundle was built with the class {text!r}; only what was taught is forgotten, or "
            "gets another name",
            hint="Build the bundle without it.",
        )
    if not labels:
        raise UsageError(f"no class {text!r} was taught: nothing was")
    raise UsageError(f"no class {text!r} was taught", hint=f"Taught are: {', '.join(labels)}.")
