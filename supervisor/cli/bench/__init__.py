"""``wsupervisor bench``: puts a load on a WebSocket server, and says what it did with it."""
