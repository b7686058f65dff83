# SPDX-License-Identifier: MIT
"""The live host as a scenario."""
