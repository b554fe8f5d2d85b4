"""Where a run goes: a description of a cluster in, a Dask client out.

local.py     worker processes on this machine, the dashboard on localhost

May import nothing of ours.
"""

from .local import WORKER_BYTES, ClusterError, leave_if_imported_by_worker, local_cluster

__all__ = ["WORKER_BYTES", "ClusterError", "leave_if_imported_by_worker", "local_cluster"]
