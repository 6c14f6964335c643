# The commands that made listing-policy.txt and its sisters. See README.md.
# Directions, actions, types.
ip xfrm policy add src 10.1.0.0/16 dst 198.51.100.0/24 dir in tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.2.0.0/16 dst 198.51.100.0/24 dir in action block
ip xfrm policy add src 10.3.0.0/16 dst 198.51.100.0/24 dir in action allow
ip xfrm policy add src 10.4.0.0/16 dst 198.51.100.0/24 dir in ptype sub tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.5.0.0/16 dst 198.51.100.0/24 dir in ptype main priority 0xffffffff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 2001:db8:5::/48 dst ::/0 dir in tmpl src 2001:db8::1 dst 2001:db8::2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.7.0.0/16 dst 198.51.100.0/24 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.8.0.0/16 dst 198.51.100.0/24 dir out action block
ip xfrm policy add src 10.9.0.0/16 dst 198.51.100.0/24 dir out action allow
ip xfrm policy add src 10.10.0.0/16 dst 198.51.100.0/24 dir out ptype sub tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.11.0.0/16 dst 198.51.100.0/24 dir out ptype main priority 0xffffffff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 2001:db8:11::/48 dst ::/0 dir out tmpl src 2001:db8::1 dst 2001:db8::2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.13.0.0/16 dst 198.51.100.0/24 dir fwd tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.14.0.0/16 dst 198.51.100.0/24 dir fwd action block
ip xfrm policy add src 10.15.0.0/16 dst 198.51.100.0/24 dir fwd action allow
ip xfrm policy add src 10.16.0.0/16 dst 198.51.100.0/24 dir fwd ptype sub tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.17.0.0/16 dst 198.51.100.0/24 dir fwd ptype main priority 0xffffffff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 2001:db8:17::/48 dst ::/0 dir fwd tmpl src 2001:db8::1 dst 2001:db8::2 proto esp reqid 1 mode tunnel
# Selectors.
ip xfrm policy add dir in priority 9
ip xfrm policy add src 10.0.0.5/8 dst 10.1.2.3/0 dir in priority 9
ip xfrm policy add src 10.0.0.1 dir in priority 9
ip xfrm policy add dst 10.0.0.1/31 dir in priority 9
ip xfrm policy add proto tcp dir in priority 9
ip xfrm policy add proto udp sport 1 dport 65535 dir in priority 9
ip xfrm policy add proto sctp sport 7 dir in priority 9
ip xfrm policy add proto dccp dport 9 dir in priority 9
ip xfrm policy add sport 5 dir in priority 9
ip xfrm policy add proto icmp type 8 code 0 dir in priority 9
ip xfrm policy add proto icmp type 0 dir in priority 9
ip xfrm policy add proto icmp code 3 dir in priority 9
ip xfrm policy add proto gre key 77 dir in priority 9
ip xfrm policy add proto gre key 1.2.3.4 dir in priority 9
ip xfrm policy add proto gre key 0 dir in priority 9
ip xfrm policy add proto gre dir in priority 9
ip xfrm policy add proto mobility-header type 5 dir in priority 9
ip xfrm policy add proto mobility-header type 5 code 1 dir in priority 9
ip xfrm policy add proto 99 dir in priority 9
ip xfrm policy add proto ipencap dir in priority 9
ip xfrm policy add proto ipv6 dir in priority 9
ip xfrm policy add dev dummy0 dir in priority 9
ip xfrm policy add src 10.0.0.0/255.255.0.0 dst 10.0.0.0/8 dev dummy0 proto tcp dport 443 dir in priority 9
ip xfrm policy add src ::/0 dst ::/0 dir in priority 9
ip xfrm policy add src 2001:db8::/32 dst ::/0 proto ipv6-icmp type 128 code 0 dir in priority 9
ip xfrm policy add src ::192.0.2.0/120 dst ::ffff:192.0.2.0/120 dir in priority 9
# Templates.
ip xfrm policy add src 10.45.0.0/16 dst 198.51.100.0/24 dir out tmpl proto esp
ip xfrm policy add src 10.46.0.0/16 dst 198.51.100.0/24 dir out tmpl proto ah reqid 7
ip xfrm policy add src 10.47.0.0/16 dst 198.51.100.0/24 dir out tmpl proto comp mode tunnel
ip xfrm policy add src 10.48.0.0/16 dst 198.51.100.0/24 dir in tmpl src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 mode tunnel level use
ip xfrm policy add src 10.49.0.0/16 dst 198.51.100.0/24 dir out tmpl proto esp mode beet
ip xfrm policy add src 10.50.0.0/16 dst 198.51.100.0/24 dir out tmpl proto esp level required
ip xfrm policy add src 10.51.0.0/16 dst 198.51.100.0/24 dir out tmpl proto esp reqid 0xffffffff
ip xfrm policy add src 10.52.0.0/16 dst 198.51.100.0/24 dir out tmpl proto route2 mode ro
ip xfrm policy add src 10.53.0.0/16 dst 198.51.100.0/24 dir out tmpl proto hao mode ro
ip xfrm policy add src 10.55.0.0/16 dst 198.51.100.0/24 dir in tmpl mode tunnel level use src 192.0.2.1 dst 192.0.2.2 proto comp tmpl proto esp
ip xfrm policy add src 10.56.0.0/16 dst 198.51.100.0/24 dir out tmpl proto esp tmpl proto esp spi 1 tmpl proto ah tmpl proto ah spi 2 tmpl proto esp reqid 5 tmpl src 1.1.1.1 proto esp
ip xfrm policy add src 10.57.0.0/16 dst 198.51.100.0/24 dir out tmpl src 2001:db8::1 dst 2001:db8::2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 2001:db8:77::/48 dir out tmpl proto esp
ip xfrm policy add src 2001:db8:78::/48 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add dir out tmpl proto esp reqid 2 mode transport src 10.77.0.0/16 dst 10.78.0.0/16
ip xfrm policy add dir out tmpl reqid 3 proto esp mode transport dev dummy0 src 2001:db8:79::/48
# Flags, marks and the rest.
ip xfrm policy add src 10.60.0.0/16 dst 198.51.100.0/24 dir out flag localok tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.61.0.0/16 dst 198.51.100.0/24 dir out flag icmp tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.62.0.0/16 dst 198.51.100.0/24 dir out flag localok icmp tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.63.0.0/16 dst 198.51.100.0/24 dir out flag 0x2 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.64.0.0/16 dst 198.51.100.0/24 dir out mark 7 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.65.0.0/16 dst 198.51.100.0/24 dir out mark 7 mask 0xff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.66.0.0/16 dst 198.51.100.0/24 dir out mark 0 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.67.0.0/16 dst 198.51.100.0/24 dir out mark 5 mask 0 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.68.0.0/16 dst 198.51.100.0/24 dir out if_id 1 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.69.0.0/16 dst 198.51.100.0/24 dir out if_id 0 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.70.0.0/16 dst 198.51.100.0/24 dir out if_id 0xffffffff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.71.0.0/16 dst 198.51.100.0/24 dir out index 0x101 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.72.0.0/16 dst 198.51.100.0/24 dir out index 0 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.73.0.0/16 dst 198.51.100.0/24 dir out mark 1 mask 1 if_id 2 priority 3 flag icmp index 0x191 limit time-hard 99999 limit byte-soft 5 limit packet-hard 0xfffffffffffffffe limit time-use-soft 70000 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
ip xfrm policy add src 10.74.0.0/16 dst 198.51.100.0/24 dir in ctx system_u:foo tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel
