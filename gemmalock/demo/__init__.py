"""The whole story on one machine in seconds, told by running the real program against a real loopback server."""
