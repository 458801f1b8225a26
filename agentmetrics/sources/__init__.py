"""Sources: what turns the events of a framework, or of a program, into facts."""
