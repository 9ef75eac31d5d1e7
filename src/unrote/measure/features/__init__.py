"""Feature maps: images become vectors, under a named preparation, with a hash and a cache."""

from unrote.measure.features.cache import Cache, cache_folder
from unrote.measure.features.extract import Extracted, Features, as_pixels, extract, feature_blocks
from unrote.measure.features.maps import FeatureMap
from unrote.measure.features.profiles import PROFILES, Profile
from unrote.measure.features.spelling import FORMS, open_features

__all__ = [
    "FORMS",
    "PROFILES",
    "Cache",
    "Extracted",
    "FeatureMap",
    "Features",
    "Profile",
    "as_pixels",
    "cache_folder",
    "extract",
    "feature_blocks",
    "open_features",
]
