"""Feature sets: what was known about an entity at an as-of, from basket lines, on any engine."""

from models.features.feature_set import FeatureSet, combined_hash, feature_set_hash
from models.features.household import HOUSEHOLD, household_features
from models.features.household_product import HOUSEHOLD_PRODUCT, household_product_features
from models.features.household_store import HOUSEHOLD_STORE, household_store_features
from models.features.household_type import HOUSEHOLD_TYPE, household_type_features
from models.features.product import PRODUCT, product_features
from models.features.store import STORE, store_features
from models.features.store_product import STORE_PRODUCT, store_product_features

FEATURE_SETS = {
    s.name: s
    for s in (
        HOUSEHOLD,
        PRODUCT,
        STORE,
        HOUSEHOLD_PRODUCT,
        HOUSEHOLD_STORE,
        HOUSEHOLD_TYPE,
        STORE_PRODUCT,
    )
}

__all__ = [
    "FEATURE_SETS",
    "HOUSEHOLD",
    "HOUSEHOLD_PRODUCT",
    "HOUSEHOLD_STORE",
    "HOUSEHOLD_TYPE",
    "PRODUCT",
    "STORE",
    "STORE_PRODUCT",
    "FeatureSet",
    "combined_hash",
    "feature_set_hash",
    "household_features",
    "household_product_features",
    "household_store_features",
    "household_type_features",
    "product_features",
    "store_features",
    "store_product_features",
]
