"""Policies: which trials are stopped early; one file each, found by name. See :mod:`autopeft.policies.base`."""

from autopeft import registry
from autopeft.policies.base import Policy

__all__ = ["POLICIES", "Policy"]

POLICIES: registry.Registry[Policy] = registry.POLICIES
