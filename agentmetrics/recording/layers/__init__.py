"""Layers: recorders around recorders, one short module each."""
