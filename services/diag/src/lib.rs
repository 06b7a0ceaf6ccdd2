//! Diagnostic services: echo, sleep, fault, counter.
