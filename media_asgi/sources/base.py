"""
What can be wrong with a file of a source.
"""


class FileMissingError(Exception):
    """The path names no regular file beneath the root."""


class TruncatedFileError(Exception):
    """The file ends before the byte that was promised last."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the file ends at byte {offset}")
        self.offset = offset
