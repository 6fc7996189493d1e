"""How publications travel between nodes: a port (:mod:`~supervisor.brokers.base`), one file a broker."""
