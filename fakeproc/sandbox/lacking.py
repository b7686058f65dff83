# SPDX-License-Identifier: MIT
"""What a machine may lack for a sandbox."""


class Lacking(Exception):
    """Say in one sentence what this machine lacks for a sandbox, and how to get it."""
