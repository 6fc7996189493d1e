"""Makes ``python -m supervisor.cli`` the command ``wsupervisor``."""

import sys

from supervisor.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
