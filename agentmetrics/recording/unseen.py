"""Characters that nobody sees, and that turn text around: names are kept without them.

What goes is what Unicode calls ``Default_Ignorable_Code_Point`` (UAX 44), among them every control
of direction and zero-width character, and the annotations of U+FFF9 to U+FFFB: with them two names
look the same, or one looks like another (UTR 36, "Unicode Security Considerations", 2 and 3).

Some of them real names need. Those stay where they change how the character before them is drawn,
as in UAX 31, 2.3 and UTS 51, and go everywhere else:

- ZWNJ and ZWJ behind letters and marks of the scripts from Arabic on (Persian, the languages of
  India, Sinhala, Mongolian), and within emoji,
- one variation selector behind what is drawn in two ways: symbols, Han, Mongolian.

So two names may still differ in nothing to be seen within such a script, as UTS 39 says of it too.
"""

from __future__ import annotations

import re
import unicodedata

_IGNORED = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_SYMBOLS = "\u2190-\u2bff\U0001f000-\U0001faff"
_JOINED = (
    "\u0600-\u061b\u061d-\u115e\u1161-\u17b3\u17b6-\u180a\u1810-\u1cff\ua800-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f" + _SYMBOLS
)
_HAN = "\u2e80-\u2fdf\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MAY_GO = re.compile(f"[{_IGNORED}]")
_UNSEEN = re.compile(
    f"(?<![{_JOINED}])(?<![{_SYMBOLS}]\ufe0f)[\u200c\u200d]"
    f"|(?<![0-9#*\u00a9\u00ae\u203c\u2049{_SYMBOLS}{_HAN}])[\ufe00-\ufe0f]"
    f"|(?<![{_HAN}])[\U000e0100-\U000e01ef]"
    "|(?<![\u1820-\u18aa])[\u180b-\u180f]"
    f"|(?![\u200c\u200d\ufe00-\ufe0f\u180b-\u180f\U000e0100-\U000e01ef])[{_IGNORED}]"
)


def without_unseen(text: str) -> str:
    """The text without such characters; it may be empty. Doing it twice changes nothing."""
    return _UNSEEN.sub("", text) if _MAY_GO.search(text) else text


def visible(text: str) -> str:
    """The text with an escape for each character that is not to be seen and may do something.

    Names that are recorded have none, but a ledger may have been written by anybody, and so may
    files and variables.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or _is_seen(c) else _escaped(c) for c in text)


def _is_seen(character: str) -> bool:
    is_joint = character in "\u200c\u200d" or unicodedata.category(character) == "Mn"
    return is_joint or (
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        and bool(without_unseen(character))
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
