"""One module a subject: the instruments of it, and how a finished fact updates them."""
