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
thrift.py               how parquet writes its heads
parquet_pages.py        what its columns' pages declare, and whether they lie where they say
row_groups.py           its row groups, each decoded once
row_file.py             rows in a temporary file
bioio_image.py          opens whatever bioio opens

Looking and reading:

survey.py               the task that surveys a batch of files
sharpest.py             the task that finds the sharpest plane of stacks
focus.py                how sharp a plane is
opened.py               images that a process keeps open
read.py                 reads boxes of an image, each segment once
corrected.py            the same after the steps before projection and rescaling
takes.py                what becomes of the parts that are read

Cutting:

cut.py                  the task that cuts one shard
patches.py              what a patch is, and cuts those of one image
windows.py              where windows lie in an image, and how much of each is the image's
stepped.py              patches after the steps of their image
region_windows.py       steps done once for windows that lie close together
mirrored.py             windows of any sizes, beyond the image its mirror image
rounded.py              rounded and saturated, once
records.py              what a task says of each row beside its pixels
histograms.py           how often each value is stored
copied.py               patches of pixels as they are, or the largest of all planes
averaged.py             patches of means: rescaled, or of all planes
area.py                 the area filter, piece by piece
grid.py                 where patches lie along one axis, and what lies beyond the edge
statistics.py           mergeable statistics of a patch's channels
scratch.py              memory that a thread keeps from task to task

Steps on pixels, in the order of the recipe:

step.py                 what a step is, and runs one after another
step_illumination.py    takes uneven light out of fields
profile.py              light over a field, as a polynomial
reference.py            light or dark that was acquired
thumbnails.py           the tasks that make fields and references small
step_hot_pixels.py      finds hot and dead pixels
step_filters.py         median, Gaussian, inversion
step_background.py      subtracts a background
step_scale.py           maps channels by numbers of their own: to a range, to a mean and deviation
step_curve.py           gamma, clip, logarithm
step_stain.py           gives the colours of a slide the mean and deviation of a reference
step_call.py            calls a function of the user's own
call_check.py           the task that tries it on a small region
users_own.py            functions of the user's own, imported by name
step_content.py         crops a window to what is in it, and resizes that
pixel_measures.py       what may be measured of a channel: percentiles, extremes, mean and deviation
sketch.py               a histogram that merges in any order
measure.py              the task that measures the pixels which enter a step
local_median.py         the median around each pixel
local_mean.py           the weighted mean around each pixel
opening.py              what lies below everything narrower than a disc or a ball
blocks.py               blocks of pixels, and pixels of blocks
missing.py              pixels that are no finite number

Masks and label maps that are files:

annotation.py           what annotates an image's pixels
annotation_file.py      cuts them with the image's windows
annotation_values.py    what their numbers stand for, checked
nearest.py              the nearest pixel of a file to each of a window

Masks and label maps that are not files of pixels:

annotation_thresholds.py  made from the image, per patch or of the whole image
threshold_classes.py    rules, opening, holes, smallest area, components
held_windows.py         what of a window lies in the image
annotation_geojson.py   painted out of polygons
objects.py              the objects of a label map: areas and centroids
geojson_file.py         GeoJSON files, kept from task to task
geojson.py              the polygons in one
geojson_features.py     its features, decoded one by one
polygons.py             which of them touch a window
rasterise.py            which pixels lie in one
kept.py                 what a process keeps, the last used of it

Foreground and scores:

foreground.py           how the foreground mask of an image is made
foreground_signals.py   thumbnails, and what of them is thresholded
foreground_windows.py   a mask, and what of it lies in windows
foreground_scores.py    the tasks that look at thumbnails
thresholds.py           automatic thresholds of histograms
contrast.py             whether a thresholded image shows more than noise
mask_shape.py           mends a mask: gaps, small objects, small holes
scores.py               the task that scores patches by their own pixels

Writing:

shard.py                writes one shard file, whole or not at all
remote_shard.py         writes one shard to an object store
remote_objects.py       writes, lists and deletes objects

May import `reader`, for the store's format and the errors.
"""
