"""One module a command: it reads its flags, calls the library, and hands the report to the page."""
