"""Checksums of a video's packets that stay the same from the encoder to the file and back.

A container repacks what the encoder gave: start codes become lengths (ISO/IEC 14496-15), and parameter sets move to the
header. What is summed is therefore not the packet's bytes but the coded units in it, each behind its length.
"""

import zlib
from collections.abc import Iterable, Iterator

__all__ = ["packet_crc32"]

START_CODE = b"\0\0\1"
H264_LEFT_OUT = frozenset({7, 8, 9})
"""Sequence and picture parameter sets, access unit delimiters (ITU-T H.264, table 7-1)."""
HEVC_LEFT_OUT = frozenset({32, 33, 34, 35})
"""Video, sequence and picture parameter sets, access unit delimiters (ITU-T H.265, table 7-1)."""
AV1_LEFT_OUT = frozenset({2, 8, 15})
"""Temporal delimiters, tile lists and padding, which no mp4 or Matroska file holds (AV1 bitstream, 6.2.2)."""


def packet_crc32(packet: bytes, codec: str, extradata: bytes | None) -> int:
    """Give the CRC-32 of what a packet codes.

    Parameters
    ----------
    packet
        The packet, as an encoder gave it or as a demuxer gives it back.
    codec
        FFmpeg's canonical name of the codec, such as `h264`, `hevc` or `av1`.
    extradata
        The codec's header beside the packets, of the same encoder or demuxer: it says how units are marked.

    Returns
    -------
    int
        The checksum, 32 bits, without sign. Of a codec whose packets containers leave alone: of all bytes.
    """
    match codec:
        case "h264":
            units = _nal_units(packet, extradata, length_at=4)
            return _sum(unit for unit in units if unit[0] & 0x1F not in H264_LEFT_OUT)
        case "hevc":
            units = _nal_units(packet, extradata, length_at=21)
            return _sum(unit for unit in units if unit[0] >> 1 & 0x3F not in HEVC_LEFT_OUT)
        case "av1":
            return _sum(unit for unit in _obus(packet) if unit[0] >> 3 & 0xF not in AV1_LEFT_OUT)
        case _:
            return zlib.crc32(packet)


def _sum(units: Iterable[bytes]) -> int:
    total = 0
    for unit in units:
        total = zlib.crc32(unit, zlib.crc32(len(unit).to_bytes(4), total))
    return total


def _nal_units(packet: bytes, extradata: bytes | None, *, length_at: int) -> Iterator[bytes]:
    """Units behind lengths, where the header is a configuration record (its first byte is 1), or between start codes.

    Zeros at the end of a unit are no part of it: its last bit that counts is a one.
    """
    if extradata is not None and len(extradata) > length_at and extradata[0] == 1:
        units = _behind_lengths(packet, (extradata[length_at] & 3) + 1)
    else:
        units = iter(packet.split(START_CODE)[1:])
    yield from filter(None, (unit.rstrip(b"\0") for unit in units))


def _behind_lengths(packet: bytes, width: int) -> Iterator[bytes]:
    at = 0
    while at + width <= len(packet):
        end = at + width + int.from_bytes(packet[at : at + width])
        yield packet[at + width : end] if end <= len(packet) else packet[at:]
        at = end


def _obus(packet: bytes) -> Iterator[bytes]:
    """Units of AV1 (5.3): a header of one or two bytes, and a length of seven bits a byte, where there is one."""
    at = 0
    while at < len(packet):
        header = 2 if packet[at] & 4 else 1
        end = place = at + header
        size = shift = 0
        while packet[at] & 2 and place < len(packet):
            size |= (packet[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if not packet[place - 1] & 0x80:
                break
        end = place + size if packet[at] & 2 else len(packet)
        yield packet[at : at + header] + packet[place:end]
        at = end
