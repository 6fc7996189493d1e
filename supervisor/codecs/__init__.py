"""Wire formats: application data to frames. One file a format; each is an ``actors.interfaces.Encoder``."""
