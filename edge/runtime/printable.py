"""Text that may say anything, fit for a terminal, a shell and a spreadsheet; nothing is lost.

Names of files, labels, models' own metadata and devices' replies are others' words. ``visible`` is
what ``edge.runtime.streams`` passes everything through that a command prints. ``one_line`` is for
a value within a line: it cannot begin a line of its own that looks like one of edge's.
"""

import re
from typing import Final

# As characters that are seen nowhere, or that turn, hide or steer what stands around them: C0 and
# C1 controls and DEL, bidi controls, zero-width and filling characters, separators of lines and
# paragraphs, annotations and tags, and the surrogates that stand for bytes that are no UTF-8.
# Before them what uses such characters as Unicode means it: flags of regions, emoji and letters
# that are joined (Unicode emoji, ED-14a and ED-16; Unicode 16, section 23.2).
_JOINED: Final = "\u0600-\u061b\u061d-\u180d\u1810-\u1fff"
_PICTURES: Final = "\u2190-\u2bff\u3030\u303d\U0001f000-\U0001fbff"
# The patterns are compiled with their first use: most runs show nothing that needs one.
_ODD: Final = (
    "(\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"
    f"|(?<=[{_JOINED}])[\u200c\u200d](?=[{_JOINED}])"
    f"|(?<=[\ufe0f{_PICTURES}])\u200d(?=[{_PICTURES}]))"
    "|[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# What a spreadsheet takes as the start of a formula (OWASP, CSV injection), behind any number of
# the apostrophes that keep it from that; a plain number is what it is.
_FORMULA: Final = "'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER: Final = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


def visible(text: str) -> str:
    """Return the text whose control characters, line breaks and tabs aside, are written as escapes.

    The escapes are JSON's, such as ``\u001b``: a JSON document stays the same one.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return re.sub(_ODD, _escaped_but_breaks, text)


def one_line(text: str, longest: int = 0) -> str:
    """Return a value within a line: its line breaks and tabs are escapes too, ``\n`` and ``\t``.

    Args:
        text: Anything.
        longest: Characters that are shown; 0 for all.
    """
    if longest and len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else re.sub(_ODD, _escaped, text)


def shell_word(text: str) -> str:
    """Return a word for a command that a person copies.

    It neither steers the terminal nor the shell.
    """
    import shlex

    if one_line(text) == text:
        return shlex.quote(text)
    quoted = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
    return f"$'{quoted}'"  # bash, zsh, ksh and POSIX.1-2024 know it


def csv_cell(text: str) -> str:
    """Return the text as a cell of a table that no spreadsheet computes.

    ``csv_text`` gives it back.

    An apostrophe is set before what a spreadsheet would take as a formula.
    """
    if re.match(_FORMULA, text) and not re.fullmatch(_NUMBER, text):
        return f"'{text}"
    return text


def csv_text(cell: str) -> str:
    """Return the text that ``csv_cell`` made a cell of."""
    return cell[1:] if cell.startswith("'") and re.match(_FORMULA, cell) else cell


def _escaped(found: re.Match[str]) -> str:
    if found[1] is not None:
        return found[1]
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escaped_but_breaks(found: re.Match[str]) -> str:
    return found[0] if found[0] in "\n\t" else _escaped(found)
