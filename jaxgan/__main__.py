"""python -m jaxgan: the command line."""

import sys

from jaxgan.cli import main

sys.exit(main())
