"""Packet injections."""

from skydive._resource import NOT_EMPTY, Resource


class PacketInjection(Resource):
    """Packets that the server sends from one node to another. `interval` is in milliseconds."""

    _fields = tuple((attribute, key, NOT_EMPTY) for attribute, key in (
        ("uuid", "UUID"),
        ("src", "Src"),
        ("dst", "Dst"),
        ("srcip", "SrcIP"),
        ("dstip", "DstIP"),
        ("srcmac", "SrcMAC"),
        ("dstmac", "DstMAC"),
        ("srcport", "SrcPort"),
        ("dstport", "DstPort"),
        ("type", "Type"),
        ("payload", "Payload"),
        ("trackingid", "TrackingID"),
        ("icmpid", "ICMPID"),
        ("count", "Count"),
        ("interval", "Interval"),
        ("mode", "Mode"),
        ("ttl", "TTL"),
    ))

    def __init__(self, uuid="", src="", dst="", srcip="", dstip="", srcmac="", dstmac="", srcport=0,
                 dstport=0, type="icmp4", payload="", trackingid="", icmpid=0, count=1, interval=0,
                 mode="unique", starttime="", ttl=64):
        self.uuid = uuid
        self.src = src
        self.dst = dst
        self.srcip = srcip
        self.dstip = dstip
        self.srcmac = srcmac
        self.dstmac = dstmac
        self.srcport = srcport
        self.dstport = dstport
        self.type = type
        self.payload = payload
        self.trackingid = trackingid
        self.icmpid = icmpid
        self.count = count
        self.interval = interval
        self.mode = mode
        self.starttime = starttime
        self.ttl = ttl
