"""Where data comes from: reading images, and worlds in which everything is known."""

from __future__ import annotations

from unrote.data.images import disjoint_splits as disjoint_splits
from unrote.data.images import load_images as load_images
from unrote.data.images import open_images as open_images
from unrote.data.pixels import ContentHash as ContentHash
from unrote.data.pixels import from_unit as from_unit
from unrote.data.pixels import outside as outside
from unrote.data.pixels import to_bytes as to_bytes
from unrote.data.pixels import to_unit as to_unit
from unrote.data.sources import Images as Images
from unrote.data.sources import Provenance as Provenance
from unrote.data.sources import Source as Source
from unrote.data.sources import check_compatible as check_compatible
from unrote.data.sources import provenance as provenance
from unrote.data.sources import stream as stream
