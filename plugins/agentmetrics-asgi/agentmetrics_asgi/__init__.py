"""HTTP requests of ASGI and WSGI applications, in the metrics system you already use."""
