#!/ usr / bin / env python3
"""Prints the test vectors of docs/format, computed from the text of these pages alone."""

import hashlib
import struct
import subprocess
import tempfile


def sha(data):
    return hashlib.sha256(data).digest()


def root(hashes):
    level = [sha(b"\0" + struct.pack("<Q", i) + h) for i, h in enumerate(hashes)]
    if not level:
        return sha(b"")
    while len(level) > 1:
        joined = [sha(b"\1" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            joined.append(level[-1])
        level = joined
    return level[0]


def ramp(count):
    return [bytes([i + 1]) * 32 for i in range(count)]


def table(entries):
    blob = sum(e[2] for e in entries)
    head = b"CPCHUNKS" + struct.pack("<IHHQQ", 1, 1, 1, len(entries), blob)
    head += root([e[0] for e in entries]) + struct.pack("<II", 80, 0)
    body = b"".join(p + s + struct.pack("<IIHHI", pl, sl, codec, 0, 0) for p, s, pl, sl, codec in entries)
    return head + body


def sign(message):
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/key", "wb") as file:
            file.write(bytes.fromhex("302e020100300506032b657004220420") + seed)
        with open(f"{place}/message", "wb") as file:
            file.write(message)
        return subprocess.run(
            ["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", f"{place}/key", "-in", f"{place}/message"],
            check=True, capture_output=True).stdout


plain = sha(b"a" * 4096)
print("ROOT1", root(ramp(1)).hex())
print("ROOT2", root(ramp(2)).hex())
print("ROOT3", root(ramp(3)).hex())
print("ROOT5", root(ramp(5)).hex())
print("TABLE1", sha(table([(plain, plain, 4096, 4096, 0)])).hex())
print("LAYER3", sha(b"coppice layer 1\0" + b"\xaa" * 32 + root(ramp(3))).hex())

pack = b"CPCPACK\0" + struct.pack("<IIQ", 1, 0, 7)
print("PACKHEAD7", (pack + sha(pack)[:8]).hex())
chunk = b"CHNK" + struct.pack("<HHII", 0, 0, 4096, 4096) + plain + plain
print("CHUNKHEAD", sha(chunk + sha(chunk + struct.pack("<QQ", 7, 32))[:16]).hex())

pae = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
print("KEYID", sha(public).hex())
print("PAESIG", sign(pae).hex())
print("PAEDIGEST", sha(pae).hex())
