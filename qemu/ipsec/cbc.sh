#!/bin/bash
# ESP in tunnel mode between 10.168.66.1 and 10.168.66.2: AES-CBC, 256 bits, and HMAC-SHA-256, ICV 128 bits.
# SPI 0x01000000 from .1 to .2, SPI 0x02000000 back, each with a key of its own.
#
# The lines of .1 come first, then those of .2, under `ip netns exec vnet`: the same two SAs again, seen from the
# other end. A guest runs the lines of its end (`ipsec-up`), and espwire reads all of them (--xfrm).
#
# The keys are published here: they protect nothing.

ip xfrm state add \
    src 10.168.66.1/24 dst 10.168.66.2/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x37e42ebddf0a28d8577e615d46065c8d0b62fb6dfbcba4952319105ed0dfd691 128 \
    enc 'cbc(aes)' 0xd4fab1465d43495b3e05cc5016ef39e0a397f59ad394e4ed2a9275add1fb945e \
    sel src 10.168.66.1/24 dst 10.168.66.2/24

ip xfrm state add \
    src 10.168.66.2/24 dst 10.168.66.1/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0xfcc638fe9d34970832b2f23b3affdee79a14d09e410cdbcb35d8fc44925fa869 128 \
    enc 'cbc(aes)' 0xcca9c97ffad17a96a8e5b71a0c5e7bfbbc7e9a2eb3a5ef38e278d26a8b64ad41 \
    sel src 10.168.66.2/24 dst 10.168.66.1/24

ip xfrm policy add \
    src 10.168.66.1/24 dst 10.168.66.2/24 dir out \
    tmpl src 10.168.66.1/24 dst 10.168.66.2/24 proto esp reqid 0x01000000 mode tunnel

ip xfrm policy add \
    src 10.168.66.2/24 dst 10.168.66.1/24 dir in \
    tmpl src 10.168.66.2/24 dst 10.168.66.1/24 proto esp reqid 0x02000000 mode tunnel

ip netns exec vnet ip xfrm state add \
    src 10.168.66.1/24 dst 10.168.66.2/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x37e42ebddf0a28d8577e615d46065c8d0b62fb6dfbcba4952319105ed0dfd691 128 \
    enc 'cbc(aes)' 0xd4fab1465d43495b3e05cc5016ef39e0a397f59ad394e4ed2a9275add1fb945e \
    sel src 10.168.66.1/24 dst 10.168.66.2/24

ip netns exec vnet ip xfrm state add \
    src 10.168.66.2/24 dst 10.168.66.1/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0xfcc638fe9d34970832b2f23b3affdee79a14d09e410cdbcb35d8fc44925fa869 128 \
    enc 'cbc(aes)' 0xcca9c97ffad17a96a8e5b71a0c5e7bfbbc7e9a2eb3a5ef38e278d26a8b64ad41 \
    sel src 10.168.66.2/24 dst 10.168.66.1/24

ip netns exec vnet ip xfrm policy add \
    src 10.168.66.1/24 dst 10.168.66.2/24 dir in \
    tmpl src 10.168.66.1/24 dst 10.168.66.2/24 proto esp reqid 0x01000000 mode tunnel

ip netns exec vnet ip xfrm policy add \
    src 10.168.66.2/24 dst 10.168.66.1/24 dir out \
    tmpl src 10.168.66.2/24 dst 10.168.66.1/24 proto esp reqid 0x02000000 mode tunnel
