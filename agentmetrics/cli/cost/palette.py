"""The colours of series, in reports that are drawn: one set on white, one on dark.

Neighbours differ in lightness as well as in hue, and each stands out from its ground by 3:1 or more
(WCAG 2.2, 1.4.11), so that they can be told apart without colour vision.
"""

from __future__ import annotations

ON_WHITE = ("#1f5fbf", "#d97500", "#0b7a5b", "#c2337a", "#7a54c7", "#8a7000")
ON_DARK = ("#6fa8ff", "#ffb056", "#3fc79a", "#ff86bd", "#b79bff", "#e3cc55")
OTHERS_ON_WHITE = "#6b7280"
OTHERS_ON_DARK = "#9aa3b2"
MOST_SERIES = len(ON_WHITE) + 1
