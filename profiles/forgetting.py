"""What must be forgotten of a profile when it changes; called inside the transaction of the change."""

from linklayer.forgetting import forget_after_commit
from profiles.contracts import links_cache_key, profile_cache_key, username_cache_key


def forget_profile(profile_id: int, *, keep_stale: bool) -> None:
    """Outdate everything that shows the profile. keep_stale: the old value may serve if the source fails."""
    for key in (links_cache_key(profile_id), profile_cache_key(profile_id)):
        forget_after_commit(key, keep_stale=keep_stale)


def forget_usernames(*usernames: str) -> None:
    """Outdate where these names lead, in whatever case: one of them is new, another may lead nowhere now."""
    for username in sorted({username.lower() for username in usernames}):
        forget_after_commit(username_cache_key(username))
