# SPDX-License-Identifier: MIT
"""Tests of the snapshot of a host, on made-up files and made-up hosts."""
