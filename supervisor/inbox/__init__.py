"""Messages that wait for a user's acknowledgement: a port (:mod:`~supervisor.inbox.base`), one file a store."""
