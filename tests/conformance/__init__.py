# SPDX-License-Identifier: MIT
"""Runs recordings of real kernels (goldens) against the simulation.

`goldens` reads the format, `world` is a mounted machine to try them on, `descriptor`
does what programs do with files, `runner` goes through a scenario and compares.
"""
