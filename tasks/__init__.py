"""What runs on a worker: functions on arrays and plain values, picklable by name.

What an image is:

image.py                the one Protocol of an open image, a user's own too, and its options
limits.py               what a segment may hold
source.py               what an image is to a task: files, planes, identity, faults
resolution.py           at which level an image is cut, and how far that is rescaled
formats.py              which reader opens a path
axes.py                 what the dimensions of a plain array are
units.py                units of length
bytes.py                the bytes of a file, here or on a server
remote_bytes.py         of a file on a server, by few requests
remote_place.py         where a file lies on a server, and its options
open_files.py           files of a set, few of them open at a time
folders.py              files below a folder that is one image
identity.py             what tells a file from its later self

TIFF:

tiff.py                 opens a TIFF and says what is in it
tiff_series.py          which of its images is meant, and its levels
tiff_axes.py            what its dimensions are
tiff_colours.py         what its numbers stand for
tiff_image.py           reads regions of it
tiff_segments.py        reads windows of a page, each strip or tile once
page_chain.py           the list of its pages, which may loop
page_tags.py            whether its pages are stored alike
intact.py               whether all of it is there
codec_stream.py         whether a compressed stream is what its page says
jpeg_xr.py              the same of JPEG XR
ome.py                  what OME-XML says of images and planes
ome_set.py              the files of an OME-TIFF
micromanager.py         what Micro-Manager says of its files
channel_names.py        the names of channels
calibration.py          the size of a pixel
vendor_calibration.py   as vendors write it
resolution_tags.py      as tags say it, where they may be believed

Other formats:

zarr_image.py           opens zarr: OME-Zarr and plain arrays
ome_zarr.py             what OME-Zarr's metadata says
zarr_files.py           nodes and chunks of a zarr, in a folder, a zip or a remote store
npy_image.py            opens .npy
hdf5_image.py           opens HDF5, whichever it is
hdf5_opened.py          an image out of its data sets
hdf5_volumes.py         many data sets as one array
hdf5_stored.py          whether its pixels are really there
hdf5_attributes.py      its attributes, read so that damage cannot hang HDF5
imaris.py               opens Imaris
bdv.py                  opens BigDataViewer and BigStitcher
bdv_xml.py              the XML beside it
picture.py              opens PNG, JPEG, BMP and WebP
picture_header.py       what their headers say
picture_png.py          what a PNG is
picture_jpeg.py         what a JPEG is
picture_bmp.py          what a BMP is
picture_webp.py         what a WebP is
table.py                opens a parquet table of flattened images
table_columns.py        which of its columns are pixels
parquet_pages.py        whether the pages of its columns lie where they say
thrift.py               how parquet writes its heads
parquet_pages.py        what its pages declare, before they are decoded
row_groups.py           its row groups, each decoded once
row_file.py             rows in a temporary file
bioio_image.py          opens whatever bioio opens

Looking and reading:

survey.py               the task that surveys a batch of files
sharpest.py             the task that finds the sharpest plane of stacks
focus.py                how sharp a plane is
opened.py               images that a process keeps open
read.py                 reads boxes of an image, each segment once

Cutting:

cut.py                  the task that cuts one shard
patches.py              what a patch is, and cuts those of one image
copied.py               patches of pixels as they are, or the largest of all planes
averaged.py             patches of means: rescaled, or of all planes
area.py                 the area filter, piece by piece
grid.py                 where patches lie along one axis, and what lies beyond the edge
statistics.py           mergeable statistics of a patch's channels
scratch.py              memory that a thread keeps from task to task

Writing:

shard.py                writes one shard file, whole or not at all
remote_shard.py         writes one shard to an object store
remote_objects.py       writes, lists and deletes objects

May import `reader`, for the store's format and the errors.
"""
