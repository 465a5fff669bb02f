"""What a power cut leaves of a disk with a volatile write cache; see volatile_disk.cpp."""

import struct

SECTOR = 512
HEAD = struct.Struct("=QQ")
WAYS = ("everything", "nothing", "some sectors", "some writes")


def read_notes(path):
    """(offset, old bytes) of each write since the last flush, in order. The last one may be torn: its write never began."""
    data = path.read_bytes() if path.exists() else b""
    writes, at = [], 0
    while at + HEAD.size <= len(data):
        offset, size = HEAD.unpack_from(data, at)
        at += HEAD.size
        if at + size > len(data):
            break
        writes.append((offset, data[at : at + size]))
        at += size
    return writes


def cut(image, notes, random, way=None):
    """Takes back some of the writes that were not flushed. @returns the way, how many writes there were, and how many
    sectors changed."""
    writes = read_notes(notes)
    way = way or random.choice(WAYS)
    versions = {}  # by sector: what it held, oldest first
    for offset, old in writes:
        keep_write = way == "some writes" and random.random() < 0.5
        for i in range(0, len(old), SECTOR):
            versions.setdefault(offset + i, []).append((old[i : i + SECTOR], keep_write))
    changed = 0
    with open(image, "r+b") as file:
        for sector, olds in versions.items():
            if way == "everything":
                back = None  # the cache was written in time
            elif way == "nothing":
                back = 0
            elif way == "some sectors":
                back = random.choice([None, *range(len(olds))])
            else:  # the last write that is kept decides; without one it is as before all
                back = 0
                for i, (_, kept) in enumerate(olds):
                    if kept:
                        back = i + 1 if i + 1 < len(olds) else None
            if back is None:
                continue
            file.seek(sector)
            file.write(olds[back][0])
            changed += 1
    notes.write_bytes(b"")
    return way, len(writes), changed
