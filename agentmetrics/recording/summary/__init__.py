"""What a recorder holds, as people want to see it: as data, text, HTML and data frames.

``meters.summary`` reads it from the metrics; nothing here names one.
"""
