"""What runs on a worker: functions on arrays and plain values, picklable by name.

source.py      what an image is to a worker: files, planes, identity, faults
tiff.py        opens a TIFF and says what is in it
intact.py      whether all of a TIFF is there
ome.py         what OME and ImageJ metadata say of the planes
survey.py      the task that surveys a batch of files
grid.py        where patches lie along one axis, and what lies beyond the edge
read.py        reads windows of an image, each segment once
cut.py         the task that cuts one shard
shard.py       writes one shard file, whole or not at all
statistics.py  mergeable statistics of a patch's channels
scratch.py     memory that a thread keeps from task to task

May import `reader`, for the store's format and the errors.
"""
