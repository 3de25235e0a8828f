"""What an execution does when something happens to it: no clock, no store, no network, so that it can be tried anywhere."""
