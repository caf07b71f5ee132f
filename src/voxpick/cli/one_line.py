"""Errors as one line for the user."""

from __future__ import annotations

from voxpick.errors import VoxpickError

NO_MEMORY = ("can't allocate memory", "out of memory", "array is too big")
"""What libraries say that ask for more than there is."""


def one_line(error: Exception) -> str | None:
    """What to tell the user; None for an error that is voxpick's own fault, whose traceback is worth a report."""
    text = " ".join(str(error).split())
    if isinstance(error, (VoxpickError, OSError)):
        return text or type(error).__name__
    if isinstance(error, UnicodeEncodeError) and "surrogates" in text:  # how Python holds bytes that it cannot read
        return "the name of a file or folder is not UTF-8, so it cannot be written into a file; rename it"
    if "CUDA out of memory" in text:
        needed = ". ".join(text.split(". ")[:3])  # what follows is for those who write programs
        return (
            f"not enough memory ({needed}) on the GPU; take fewer voxels at a time (--set tile=..., in training "
            "--set batch=... or patch=...), or add --device cpu"
        )
    if isinstance(error, MemoryError) or any(mark in text for mark in NO_MEMORY):
        return f"not enough memory ({text or 'unknown size'}); take a smaller volume or fewer voxels at a time"
    if hasattr(error, "format_message") and hasattr(error, "ctx"):  # a mistake on the command line
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return ""
        command = error.ctx.command_path if error.ctx else "voxpick"
        return f"{' '.join(error.format_message().split()).rstrip('.')}; see '{command} --help'"
    return None
