#!/bin/bash
# ESP in tunnel mode between 10.168.66.1 and 10.168.66.2: AES-GCM (RFC 4106), 256 bits and a salt of 32, ICV 128 bits.
# SPI 0x01000000 from .1 to .2, SPI 0x02000000 back, each with a key of its own.
#
# The lines of .1 come first, then those of .2, under `ip netns exec vnet`: the same two SAs again, seen from the
# other end. A guest runs the lines of its end (`ipsec-up`), and espwire reads all of them (--xfrm).
#
# The keys are published here: they protect nothing.

ip xfrm state add \
    src 10.168.66.1/24 dst 10.168.66.2/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x292e91b234873f91a883aa0c68763e0450e9dea975b7d7a699457562dfd86142440add64 128 \
    sel src 10.168.66.1/24 dst 10.168.66.2/24

ip xfrm state add \
    src 10.168.66.2/24 dst 10.168.66.1/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x9907c69944591aedcc205eb3edeeccebd5f5cdbb19049fb9922cc30e2062b6537eb75b72 128 \
    sel src 10.168.66.2/24 dst 10.168.66.1/24

ip xfrm policy add \
    src 10.168.66.1/24 dst 10.168.66.2/24 dir out \
    tmpl src 10.168.66.1/24 dst 10.168.66.2/24 proto esp reqid 0x01000000 mode tunnel

ip xfrm policy add \
    src 10.168.66.2/24 dst 10.168.66.1/24 dir in \
    tmpl src 10.168.66.2/24 dst 10.168.66.1/24 proto esp reqid 0x02000000 mode tunnel

ip netns exec vnet ip xfrm state add \
    src 10.168.66.1/24 dst 10.168.66.2/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x292e91b234873f91a883aa0c68763e0450e9dea975b7d7a699457562dfd86142440add64 128 \
    sel src 10.168.66.1/24 dst 10.168.66.2/24

ip netns exec vnet ip xfrm state add \
    src 10.168.66.2/24 dst 10.168.66.1/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x9907c69944591aedcc205eb3edeeccebd5f5cdbb19049fb9922cc30e2062b6537eb75b72 128 \
    sel src 10.168.66.2/24 dst 10.168.66.1/24

ip netns exec vnet ip xfrm policy add \
    src 10.168.66.1/24 dst 10.168.66.2/24 dir in \
    tmpl src 10.168.66.1/24 dst 10.168.66.2/24 proto esp reqid 0x01000000 mode tunnel

ip netns exec vnet ip xfrm policy add \
    src 10.168.66.2/24 dst 10.168.66.1/24 dir out \
    tmpl src 10.168.66.2/24 dst 10.168.66.1/24 proto esp reqid 0x02000000 mode tunnel
