#!/usr/bin/env python3
"""Prints everything that stat, readlink, listxattr and read tell of a tree, one line per file: to be compared."""

import hashlib
import os
import stat
import sys


def describe(path):
    status = os.lstat(path)
    mode = status.st_mode
    parts = [oct(mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink]
    if stat.S_ISLNK(mode):
        parts.append(os.readlink(path))
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        parts += [os.major(status.st_rdev), os.minor(status.st_rdev)]
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            parts += [status.st_size, hashlib.sha256(file.read()).hexdigest()]
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        parts += [name, os.getxattr(path, name, follow_symlinks=False).hex()]
    return parts


def main(root):
    lines = []
    for directory, directories, files in os.walk(root):
        for name in directories + files + ([""] if directory == root else []):
            path = os.path.join(directory, name)
            lines.append(repr((os.path.relpath(path, root), describe(path))))
    print("\n".join(sorted(lines)))


main(sys.argv[1])
