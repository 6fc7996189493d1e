"""The command line: ``wsupervisor serve`` and ``wsupervisor bench``. Needs the extra ``cli``."""
