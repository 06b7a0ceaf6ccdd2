//! Cards and tags: issuing, recharge, status, blacklist.
