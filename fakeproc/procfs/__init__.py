# SPDX-License-Identifier: MIT
"""What each file of the simulated /proc says and accepts; nothing here knows FUSE."""
