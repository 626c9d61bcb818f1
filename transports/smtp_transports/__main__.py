"""`python -m smtp_transports` is the command line `smtp-proto`."""

import sys

from .cli import main

sys.exit(main())
