"""The words that all jobs share: desired and actual LRPs, tasks, domains, cells, and the family of errors.

Values are frozen; whatever is derived from a protobuf message says so and says which bytes it keeps.
Times are Unix nanoseconds, as the original's columns and messages carry them.
"""

from diego.models.actual_lrp import ActualLRP, ActualLRPState, ModificationTag, Presence
from diego.models.cell import CellPresence
from diego.models.desired_lrp import DesiredLRP
from diego.models.domain import NEVER, Domain
from diego.models.errors import BbsError, ErrorType
from diego.models.task import Task, TaskState

__all__ = [
    "NEVER",
    "ActualLRP",
    "ActualLRPState",
    "BbsError",
    "CellPresence",
    "DesiredLRP",
    "Domain",
    "ErrorType",
    "ModificationTag",
    "Presence",
    "Task",
    "TaskState",
]
