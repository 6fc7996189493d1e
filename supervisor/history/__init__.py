"""What rooms keep of their messages: a port (:mod:`~supervisor.history.base`), one file a store."""
