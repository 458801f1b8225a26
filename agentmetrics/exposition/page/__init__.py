"""The live page: what agents do now, in a browser, from the process that they run in.

Nothing of it runs while nobody looks. A page that is open asks for a sample, and those who look at
the same time share it.
"""
