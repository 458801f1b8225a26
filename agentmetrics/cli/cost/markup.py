"""Elements of a page, made so that no text in them can be anything but text.

What is written is a tree, never a string with markup in it: ``xml.etree`` escapes every text and
attribute when it writes them.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from agentmetrics.cli.console import visible


def element(tag: str, *children: Element | str | None, **attributes: str) -> Element:
    """An element without those of the children and attributes that are empty.

    Of an attribute's name ``_`` is a ``-``, and one at its end is left out.
    """
    named = {
        name.rstrip("_").replace("_", "-"): visible(value)
        for name, value in attributes.items()
        if value
    }
    made = Element(tag, named)
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child and last is None:
            made.text = (made.text or "") + visible(child)
        elif child and last is not None:
            last.tail = (last.tail or "") + visible(child)
    return made


def document(root: Element) -> bytes:
    """A page as it is stored."""
    written: bytes = tostring(root, encoding="utf-8", method="html")
    return b"<!doctype html>\n" + written + b"\n"
