"""job/every_flag.py: the names of all flags, known without importing the commands."""

from act.average import AverageFlags
from act.compare.flags import CompareFlags
from act.contract import ContractFlags
from act.evaluate.flags import EvaluateFlags
from act.export.flags import ExportFlags, ImportFlags
from act.imitate_episodes import OPTIONS
from act.report.flags import ReportFlags
from act.serve.flags import ServeFlags
from act.simulate.flags import SimulateFlags
from convert.flags import CheckFlags, ConvertFlags
from job.flags import Flags, names_of
from job.sweep import SweepFlags
from lerobot_to_act import JobFlags

COMMANDS: tuple[type[Flags], ...] = (
    AverageFlags,
    CheckFlags,
    CompareFlags,
    ContractFlags,
    ConvertFlags,
    EvaluateFlags,
    ExportFlags,
    ImportFlags,
    JobFlags,
    ReportFlags,
    ServeFlags,
    SimulateFlags,
    SweepFlags,
)

_HEAD = '''\
"""The flags of all commands by name; written by `python -m docs.generate`."""

EVERY_FLAG = frozenset(
    {
'''


def names() -> set[str]:
    """The names of the flags of all commands."""
    return set(OPTIONS.values()).union(*map(names_of, COMMANDS))


def page() -> str:
    """The text of the module."""
    return _HEAD + "".join(f'        "{name}",\n' for name in sorted(names())) + "    }\n)\n"
