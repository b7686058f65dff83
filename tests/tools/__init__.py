# SPDX-License-Identifier: MIT
"""Tools as they come from apt and PyPI, on a mount: what they print is what the machine holds."""
