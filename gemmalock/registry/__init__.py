"""The task registry: this machine's task records, beside their partials, in the store's folder.

What must not live here: which bytes of a partial are good (journal, transfer), and what follows from a look (plan).
"""

from gemmalock.registry.disk import DiskRegistry, TaskView
from gemmalock.registry.held import DiskClaim

__all__ = ["DiskClaim", "DiskRegistry", "TaskView"]
