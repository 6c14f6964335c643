#!/bin/bash
# The shape of the set-up scripts of the kxfrm module: every SA twice, once where the script runs and once in the
# other end's network namespace. Addresses, keys and names are our own.

ip xfrm state add \
    src 10.77.5.22/24 dst 10.77.5.21/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x70812be4f58b9d800dd3c766d92e86ce20eb266653dc9bf41f15df1e32dc324cae183eb2 128 \
    sel src 10.77.5.22/24 dst 10.77.5.21/24

ip xfrm state add \
    src 10.77.5.21/24 dst 10.77.5.22/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0xedae44cdc224e17303341622ba5521e7139955fce60a6ef2843ed06d4b845f589fecb917 128 \
    sel src 10.77.5.21/24 dst 10.77.5.22/24

ip xfrm policy add \
    src 10.77.5.22/24 dst 10.77.5.21/24 dir in \
    tmpl src 10.77.5.22/24 dst 10.77.5.21/24 proto esp reqid 0x02000000 mode tunnel

ip xfrm policy add \
    src 10.77.5.21/24 dst 10.77.5.22/24 dir out \
    tmpl src 10.77.5.21/24 dst 10.77.5.22/24 proto esp reqid 0x01000000 mode tunnel

ip netns exec peer0 ip xfrm state add \
    src 10.77.5.22/24 dst 10.77.5.21/24 proto esp spi 0x02000000 reqid 0x02000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0x70812be4f58b9d800dd3c766d92e86ce20eb266653dc9bf41f15df1e32dc324cae183eb2 128 \
    sel src 10.77.5.22/24 dst 10.77.5.21/24

ip netns exec peer0 ip xfrm state add \
    src 10.77.5.21/24 dst 10.77.5.22/24 proto esp spi 0x01000000 reqid 0x01000000 mode tunnel flag af-unspec \
    aead 'rfc4106(gcm(aes))' 0xedae44cdc224e17303341622ba5521e7139955fce60a6ef2843ed06d4b845f589fecb917 128 \
    sel src 10.77.5.21/24 dst 10.77.5.22/24

ip netns exec peer0 ip xfrm policy add \
    src 10.77.5.22/24 dst 10.77.5.21/24 dir out \
    tmpl src 10.77.5.22/24 dst 10.77.5.21/24 proto esp reqid 0x02000000 mode tunnel

ip netns exec peer0 ip xfrm policy add \
    src 10.77.5.21/24 dst 10.77.5.22/24 dir in \
    tmpl src 10.77.5.21/24 dst 10.77.5.22/24 proto esp reqid 0x01000000 mode tunnel
