//! Double-entry postings that the account, card and passage services share.
