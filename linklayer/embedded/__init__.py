"""The servers and processes of `make run`, started, watched and stopped by us; the tests start theirs with it too."""
