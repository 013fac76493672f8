"""Who is calling: JWT-SVIDs of workloads (`svid`) and access tokens of people (`usertoken`), verified against bundles (`bundles`).

All of it is pure: bundles, issuers and `now` come in; what is refused raises `IdentityRefused` with a reason and the rule it broke.
"""

from __future__ import annotations

from workers.common.bundles import BundleRefused, FactBundles, StaticBundles, SVIDKey, TrustBundles, parse_bundle
from workers.common.credentials import IdentityRefused
from workers.common.svid import VerifiedSVID, audience_of, thumbprint, verify_jwt_svid, verify_svid
from workers.common.usertoken import TokenIssuers, verify_user_token

__all__ = [
    "BundleRefused",
    "FactBundles",
    "IdentityRefused",
    "SVIDKey",
    "StaticBundles",
    "TokenIssuers",
    "TrustBundles",
    "VerifiedSVID",
    "audience_of",
    "parse_bundle",
    "thumbprint",
    "verify_jwt_svid",
    "verify_svid",
    "verify_user_token",
]
