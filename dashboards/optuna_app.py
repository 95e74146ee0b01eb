"""The Optuna dashboard on a storage."""

import threading
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer, make_server


def serve_optuna(url: str, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard on every study of an Optuna storage, until interrupted.

    Args:
        url: the storage, as Optuna takes it.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        ready: called with the page's address once it can be opened.

    Raises:
        OSError: the address cannot be listened on.
    """
    from optuna.storages import get_storage
    from optuna_dashboard import wsgi

    server: WSGIServer = make_server(host, port, wsgi(get_storage(url)))
    # in a thread of its own, since a request would swallow the interrupt that comes while it is answered
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    with server:
        thread.start()
        try:
            ready(f"http://{host}:{server.server_port}/")
            thread.join()
        finally:
            server.shutdown()
