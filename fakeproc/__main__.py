# SPDX-License-Identifier: MIT
"""`python -m fakeproc`."""

import sys

from fakeproc.cli import main

sys.exit(main())
