"""The one order in which a change of a profile locks rows: the profile, its short links by id, cache keys last.

An edit of one short link holds that link while it raises the profile's cache key. A change that raised the key first
and came to the link afterwards would be waiting for it while it is waited for: PostgreSQL would end one of the two.
"""

from profiles.models import Profile
from shortlinks.services import lock_short_links


def locked_profile(profile_id: int) -> Profile:
    """Return the profile as it is now, to be changed with its links until the transaction ends.

    Raises Profile.DoesNotExist.
    """
    profile = Profile.objects.select_for_update().get(pk=profile_id)
    held = profile.links.filter(short_link__isnull=False).values_list("short_link_id", flat=True)
    lock_short_links(list(held))
    return profile
