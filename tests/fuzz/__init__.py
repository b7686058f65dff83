# SPDX-License-Identifier: MIT
"""Fuzzing of every parser that takes bytes from outside: see README.md here."""
