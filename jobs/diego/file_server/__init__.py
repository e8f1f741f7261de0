"""The file server: gives cells the files that the operator put into one directory, app lifecycles above all.

Called by the executor on every cell (cached dependencies, over HTTPS) and by hand; calls nobody.
contract/file-server-healthchecker.md section 1. Two things differ from the original: a file that was replaced is
told by a new ETag at once, where the original keeps the first one for the life of the process; and a request
for several ranges at once gets the whole file, as HTTP allows.
"""
