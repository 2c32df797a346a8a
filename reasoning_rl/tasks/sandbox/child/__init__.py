"""What runs inside the sandbox; no module here imports the package.

`stage` is the script that a bare interpreter starts: it confines its own
process, says what it did, and only then hands over to `harness`, which runs the
program (the one file with an `exec`), or to `probe`, which tries what must not
work. The parent imports `values` alone.
"""
