#!/bin/bash
# The shape of the set-up scripts of the kxfrm module: every SA twice, once where the script runs and once in the
# other end's network namespace. Addresses, keys and names are our own.

ip xfrm state add \
    src 10.77.5.22/24 dst 10.77.5.21/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x16d1e45d84dfe0d9b0e92ad067b90e8b1d9c1a6fae40430093e0754aeeee8f9a 128 \
    enc 'cbc(aes)' 0x75b1ece4290160f772a594d845f21e2a6d5ea22b4297869d3786dddb3f1683c5 \
    sel src 10.77.5.22/24 dst 10.77.5.21/24

ip xfrm state add \
    src 10.77.5.21/24 dst 10.77.5.22/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x1fcbbd2ddd90abfd9da044736e47e935a21f3ba93a42f63a3793c01d0247a9fc 128 \
    enc 'cbc(aes)' 0x6f9904a454f441bbde22db95ebb43d1fa0edb6db1ea54c79a7c764427bbf2a9b \
    sel src 10.77.5.21/24 dst 10.77.5.22/24

ip xfrm policy add \
    src 10.77.5.22/24 dst 10.77.5.21/24 dir in \
    tmpl src 10.77.5.22/24 dst 10.77.5.21/24 proto esp reqid 0x02000000 mode tunnel

ip xfrm policy add \
    src 10.77.5.21/24 dst 10.77.5.22/24 dir out \
    tmpl src 10.77.5.21/24 dst 10.77.5.22/24 proto esp reqid 0x01000000 mode tunnel

ip netns exec peer0 ip xfrm state add \
    src 10.77.5.22/24 dst 10.77.5.21/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x16d1e45d84dfe0d9b0e92ad067b90e8b1d9c1a6fae40430093e0754aeeee8f9a 128 \
    enc 'cbc(aes)' 0x75b1ece4290160f772a594d845f21e2a6d5ea22b4297869d3786dddb3f1683c5 \
    sel src 10.77.5.22/24 dst 10.77.5.21/24

ip netns exec peer0 ip xfrm state add \
    src 10.77.5.21/24 dst 10.77.5.22/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    auth-trunc 'hmac(sha256)' 0x1fcbbd2ddd90abfd9da044736e47e935a21f3ba93a42f63a3793c01d0247a9fc 128 \
    enc 'cbc(aes)' 0x6f9904a454f441bbde22db95ebb43d1fa0edb6db1ea54c79a7c764427bbf2a9b \
    sel src 10.77.5.21/24 dst 10.77.5.22/24

ip netns exec peer0 ip xfrm policy add \
    src 10.77.5.22/24 dst 10.77.5.21/24 dir out \
    tmpl src 10.77.5.22/24 dst 10.77.5.21/24 proto esp reqid 0x02000000 mode tunnel

ip netns exec peer0 ip xfrm policy add \
    src 10.77.5.21/24 dst 10.77.5.22/24 dir in \
    tmpl src 10.77.5.21/24 dst 10.77.5.22/24 proto esp reqid 0x01000000 mode tunnel
