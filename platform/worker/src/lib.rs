//! The worker process: takes a request, runs its service, replies.
