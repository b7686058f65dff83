# SPDX-License-Identifier: MIT
"""Reports of the OOM killer in a kernel log: read, rebuilt as a machine, judged.

No rule of the kernel is in here: `lines` takes off what syslog, journald and mail put around
a message, `parse` makes one `Report` of the messages of one OOM, `rebuild` makes a machine of it,
and `verdict` asks the simulated kernel whom it would have chosen and compares that with the log.
"""
