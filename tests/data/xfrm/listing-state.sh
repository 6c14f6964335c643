# The commands that made listing-state.txt and its sisters. See README.md.
# Suites.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1002 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1003 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1004 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1005 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1006 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1007 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1008 mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1009 mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100a mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100b mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100c mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100d mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100e mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100f mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1010 mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122 96
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1011 mode tunnel flag af-unspec aead 'rfc4309(ccm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1012 mode tunnel flag af-unspec aead 'rfc4543(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1013 mode tunnel flag af-unspec aead 'rfc4543(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1014 mode tunnel flag af-unspec aead 'rfc4543(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1015 mode tunnel flag af-unspec aead 'rfc7539esp(chacha20,poly1305)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1016 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1017 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f1011121314151617
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1018 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1019 mode tunnel flag af-unspec auth-trunc 'hmac(sha384)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 192 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101a mode tunnel flag af-unspec auth-trunc 'hmac(sha512)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f 256 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101b mode tunnel flag af-unspec auth-trunc 'hmac(sha1)' 0x000102030405060708090a0b0c0d0e0f10111213 96 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101c mode tunnel flag af-unspec auth-trunc 'hmac(md5)' 0x000102030405060708090a0b0c0d0e0f 96 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101d mode tunnel flag af-unspec auth-trunc 'xcbc(aes)' 0x000102030405060708090a0b0c0d0e0f 96 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101e mode tunnel flag af-unspec auth-trunc 'cmac(aes)' 0x000102030405060708090a0b0c0d0e0f 96 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101f mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'rfc3686(ctr(aes))' 0x000102030405060708090a0b0c0d0e0f10111213
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1020 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'rfc3686(ctr(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1021 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'rfc3686(ctr(aes))' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1022 mode tunnel flag af-unspec auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128 enc 'ecb(cipher_null)' ''
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1024 mode tunnel flag af-unspec auth digest_null '' enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
# Names and ICV lengths that Linux completes.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1025 mode tunnel auth 'md5' 0x000102030405060708090a0b0c0d0e0f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1026 mode tunnel auth 'sha1' 0x000102030405060708090a0b0c0d0e0f10111213 enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1027 mode tunnel auth 'sha256' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1028 mode tunnel auth 'hmac(sha384)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1029 mode tunnel auth 'hmac(sha512)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x102a mode tunnel auth 'xcbc(aes)' 0x000102030405060708090a0b0c0d0e0f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x102b mode tunnel auth 'cmac(aes)' 0x000102030405060708090a0b0c0d0e0f enc aes 0x000102030405060708090a0b0c0d0e0f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x102c mode tunnel enc aes 0x000102030405060708090a0b0c0d0e0f auth sha1 abcdefghijklmnopqrst
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x102d mode tunnel enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f
# Addresses, modes and encapsulation.
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x102e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x102f mode transport aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1030 mode transport aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1031 aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1032 mode beet aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1033 mode beet aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src ::192.0.2.1 dst ::ffff:192.0.2.2 proto esp spi 0x1034 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 2001:db8:0:1:0:0:0:1 dst 2001:db8:0:0:1:0:0:1 proto esp spi 0x1035 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src ::1 dst 1:2:3:4:5:6:0:8 proto esp spi 0x1036 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1/24 dst 192.0.2.2/24 proto esp spi 0x1037 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add dst 192.0.2.3 proto esp spi 0x1038 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add dst 2001:db8::3 proto esp spi 0x1039 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x103a mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp 4500 4500 0.0.0.0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x103b mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp 4500 65535 192.0.2.77
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x103c mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp-nonike 500 4500 0.0.0.0
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x103d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp 4500 4501 ::
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x103e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp 4500 4500 192.0.2.77
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x103f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 encap espinudp 0 1 2001:db8::77
# Sequence numbers and windows.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1040 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1041 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 31
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1042 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 32
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1043 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 33
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1044 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 64
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1045 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 256
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1046 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 1000
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1047 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 2048
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1048 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 4095
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1049 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 4096
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag esn replay-window 1 flag af-unspec
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag esn replay-window 32 flag af-unspec
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag esn replay-window 64 flag af-unspec
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag esn replay-window 4096 flag af-unspec
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 32 replay-seq 0x10 replay-oseq 0xffffffff replay-seq-hi 7 replay-oseq-hi 8
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x104f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 33 replay-seq 0x10 replay-oseq 0xffffffff replay-seq-hi 7 replay-oseq-hi 8
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1050 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 64 replay-seq 1 replay-oseq 2 replay-seq-hi 3 replay-oseq-hi 0xffffffff flag esn
# Flags, marks and the rest.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1051 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag noecn
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1052 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag decap-dscp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1053 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag nopmtudisc
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1054 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag wildrecv
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1055 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag icmp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1056 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1057 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag align4
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1058 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag noecn decap-dscp nopmtudisc wildrecv icmp af-unspec align4
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1059 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag 0x6f
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec extra-flag dont-encap-dscp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec extra-flag oseq-may-wrap
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec extra-flag dont-encap-dscp oseq-may-wrap
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec extra-flag 0x7
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 extra-flag oseq-may-wrap
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x105f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag esn replay-window 64 extra-flag dont-encap-dscp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1060 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 7
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1061 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 7 mask 0xff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1062 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1063 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 0x80000000 mask 0x80000000
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1064 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 5 mask 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1065 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 7
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1066 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 7 mask 0xff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1067 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1068 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 0 mask 0xff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1069 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 5 mask 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 1 mask 0xf output-mark 2
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 output-mark 2 mask 0xf0 mark 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 0xffffffff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x106f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 tfcpad 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1070 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 tfcpad 1500
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1071 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 tfcpad 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1072 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 tfcpad 0xffffffff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1073 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 seq 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1074 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 seq 0x01020304
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1075 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 reqid 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1076 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 reqid 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1077 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 reqid 0xffffffff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1078 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 limit byte-soft 1000 limit byte-hard 2000 limit packet-soft 30 limit packet-hard 40 limit time-soft 36000 limit time-hard 72000 limit time-use-soft 100000 limit time-use-hard 200000
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1079 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 limit byte-hard 0xfffffffffffffffe limit packet-hard 0xffffffffffffffff limit time-hard 0
# Selectors.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 10.0.0.0/8 dst 10.1.0.0/16
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 10.0.0.5/8 dst 10.1.2.3/0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 10.0.0.1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel dst 10.0.0.1/31
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto tcp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x107f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto udp sport 1 dport 65535
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1080 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto sctp sport 7
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1081 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto dccp dport 9
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1082 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel sport 5
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1083 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto icmp type 8 code 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1084 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto icmp type 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1085 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto icmp code 3
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1086 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto gre key 77
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1087 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto gre key 1.2.3.4
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1088 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto gre key 0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1089 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto gre
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto mobility-header type 5
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto mobility-header type 5 code 1
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto 99
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto 255
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto esp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x108f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto ipv6
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1090 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto ipencap
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1091 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto ospf
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1092 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel dev dummy0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1093 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 10.0.0.0/8 dev dummy0 proto tcp dport 443
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1094 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 2001:db8::/32 dst 2001:db9::/32
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1095 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 0.0.0.0/0 dst 0.0.0.0/0
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1096 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 2001:db8::/32 dst ::/0 proto ipv6-icmp type 128 code 0
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1097 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 2001:db8::/32
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1098 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel proto tcp dport 80
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1099 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src 10.0.0.0/8 dst 10.0.0.0/8
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x109a mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 sel src ::/0 dst ::/0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x109b mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel src 10.0.0.0/8 dst 10.1.0.0/16
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x109c mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel src 2001:db8::/32 dst 2001:db9::/32
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x109d mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel proto tcp
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x109e mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel src 0.0.0.0/0 dst 0.0.0.0/0
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x109f mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel dev dummy0
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x10a0 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel src 10.0.0.0/8 dst 10.1.0.0/16
ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x10a1 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 flag af-unspec sel proto tcp
# An ICV length of 0 is the algorithm's own.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2000 mode tunnel auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0 enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
# Deleted again: what finds a state with a mark.
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2002 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 0
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2002
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2003 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 5 mask 0xff
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2003 mark 0x105
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2004 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 5 mask 0xff
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2004 mark 5
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2005 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 0x100 mask 0xff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2006 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 5 mask 0xff
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2006 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 mark 6 mask 0xff
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2006 mark 6
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2007 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2007 mark 9
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2008 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 replay-window 4 if_id 4 output-mark 3 mark 3 tfcpad 5
ip xfrm state update src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2008 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 reqid 7 mark 3 limit byte-hard 77 flag noecn sel src 10.0.0.0/8 extra-flag oseq-may-wrap tfcpad 9 replay-window 9
ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2009 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 4 output-mark 3
ip xfrm state update src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x2009 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 if_id 5 output-mark 6 mask 0xf
