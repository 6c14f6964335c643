//! Properties of the `ip xfrm` grammar: no text makes it panic, and what is written is read again, from a command and
//! from what `ip` would print.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use espwire_ipsec::xfrm::{self, Flags, Mode, State};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A state as plain values.
#[derive(Clone, Debug)]
struct Model {
    src: IpAddr,
    dst: IpAddr,
    spi: u32,
    reqid: u32,
    mode: Mode,
    flags: u8,
    window: u32,
    counters: [u32; 4],
    algorithms: Algorithms,
    encap: Option<(&'static str, u16, u16)>,
    mark: Option<(u32, u32)>,
    if_id: Option<u32>,
    selector: Option<(u8, u8, Option<u8>, bool)>,
    limit: Option<u64>,
}

#[derive(Clone, Debug)]
enum Algorithms {
    Aead(&'static str, Vec<u8>, u32),
    Pair(&'static str, Vec<u8>, &'static str, Vec<u8>, u32),
}

const FLAGS: [&str; 8] =
    ["noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn"];

fn hex(octets: &[u8]) -> String {
    octets.iter().fold("0x".to_owned(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| (Ipv4Addr::from(a).into(), Ipv4Addr::from(b).into())),
        any::<(u128, u128)>().prop_map(|(a, b)| (Ipv6Addr::from(a).into(), Ipv6Addr::from(b).into())),
    ]
}

fn algorithms() -> impl Strategy<Value = Algorithms> {
    let aead = prop_oneof![Just("rfc4106(gcm(aes))"), Just("rfc7539esp(chacha20,poly1305)")];
    let enc = prop_oneof![Just("cbc(aes)"), Just("ecb(cipher_null)")];
    let auth = prop_oneof![Just("hmac(sha256)"), Just("xcbc(aes)")];
    prop_oneof![
        (aead, vec(any::<u8>(), 1..40), 0..=256_u32).prop_map(|(n, k, bits)| Algorithms::Aead(n, k, bits)),
        (enc, vec(any::<u8>(), 0..40), auth, vec(any::<u8>(), 0..70), 0..=512_u32)
            .prop_map(|(e, ek, a, ak, bits)| Algorithms::Pair(e, ek, a, ak, bits)),
    ]
}

prop_compose! {
    fn model()(
        (src, dst) in addresses(),
        spi in 1..=u32::MAX,
        reqid in any::<u32>(),
        mode in prop_oneof![Just(Mode::Tunnel), Just(Mode::Transport), Just(Mode::Beet)],
        flags in any::<u8>(),
        window in prop_oneof![1..=4096_u32, 1..=xfrm::MAX_REPLAY_WINDOW],
        counters in any::<[u32; 4]>(),
        algorithms in algorithms(),
        encap in option::of((prop_oneof![Just("espinudp"), Just("espintcp")], any::<u16>(), any::<u16>())),
        mark in option::of((any::<u32>(), 1..=u32::MAX).prop_map(|(value, mask)| (value & mask, mask))),
        if_id in option::of(1..=u32::MAX),
        selector in option::of((0..=32_u8, 0..=32_u8, option::of(1..=255_u8), any::<bool>())),
        limit in option::of(0..u64::MAX),
    ) -> Model {
        Model { src, dst, spi, reqid, mode, flags, window, counters, algorithms, encap, mark, if_id, selector, limit }
    }
}

impl Model {
    fn has_esn_context(&self) -> bool {
        self.flags & 0x80 != 0 || self.window > 32
    }

    fn flag_names(&self) -> Vec<&'static str> {
        (0..8).filter(|bit| self.flags >> bit & 1 != 0).map(|bit| FLAGS[bit]).collect()
    }

    /// `src … dst …` of the selector.
    fn selector_text(&self) -> Option<String> {
        let (a, b, proto, ports) = self.selector?;
        let any = if self.dst.is_ipv4() { "0.0.0.0" } else { "::" };
        let mut text = format!("src {any}/{a} dst {any}/{b}");
        match proto {
            Some(6) | None if ports => text += " proto tcp sport 5 dport 6",
            Some(proto) => write!(text, " proto {proto}").unwrap(),
            None => {}
        }
        Some(text)
    }

    /// As a command.
    fn command(&self) -> String {
        let Self { src, dst, spi, reqid, mode, window, .. } = self;
        let mut text =
            format!("ip xfrm state add src {src} dst {dst} proto esp spi {spi:#x} reqid {reqid} mode {mode}");
        for flag in self.flag_names() {
            write!(text, " flag {flag}").unwrap();
        }
        let [seq, oseq, seq_hi, oseq_hi] = self.counters;
        write!(text, " \\\n replay-window {window} replay-seq {seq} replay-oseq {oseq:#x}").unwrap();
        if self.has_esn_context() {
            write!(text, " replay-seq-hi {seq_hi} replay-oseq-hi {oseq_hi}").unwrap();
        }
        match &self.algorithms {
            Algorithms::Aead(name, key, bits) => write!(text, " aead '{name}' {} {bits}", hex(key)).unwrap(),
            Algorithms::Pair(enc, enc_key, auth, auth_key, bits) => {
                // An empty key is a word of its own.
                let quoted = |key: &[u8]| if key.is_empty() { "\"\"".to_owned() } else { hex(key) };
                write!(
                    text,
                    " enc '{enc}' {} auth-trunc \"{auth}\" {} {bits}",
                    quoted(enc_key),
                    quoted(auth_key)
                )
                .unwrap();
            }
        }
        if let Some((kind, sport, dport)) = self.encap {
            write!(text, " encap {kind} {sport} {dport} 0.0.0.0").unwrap();
        }
        if let Some((value, mask)) = self.mark {
            write!(text, " mark {value} mask {mask:#x}").unwrap();
        }
        if let Some(if_id) = self.if_id {
            write!(text, " if_id {if_id:#o}").unwrap();
            text = text.replace("0o", "0");
        }
        if let Some(limit) = self.limit {
            write!(text, " limit byte-hard {limit}").unwrap();
        }
        if let Some(selector) = self.selector_text() {
            write!(text, " sel {selector}").unwrap();
        }
        text + "\n"
    }

    /// As `ip xfrm state` prints it, or `ip -s xfrm state`.
    fn printed(&self, stats: bool) -> String {
        let Self { src, dst, spi, reqid, mode, window, .. } = self;
        let [seq, oseq, seq_hi, oseq_hi] = self.counters;
        let twice = |a: String, b: String| if stats { format!("{a}({b})") } else { a };
        let spi = twice(format!("{spi:#010x}"), spi.to_string());
        let reqid = twice(reqid.to_string(), format!("{reqid:#010x}"));
        let mut text = format!("src {src} dst {dst}\n\tproto esp spi {spi} reqid {reqid} mode {mode}\n");
        let shown_window = if self.has_esn_context() { 0 } else { *window };
        write!(text, "\treplay-window {shown_window} ").unwrap();
        if stats {
            text += "seq 0x00000000 ";
        }
        if stats || self.flags != 0 {
            write!(text, "flag {}", self.flag_names().join(" ")).unwrap();
        }
        if stats {
            write!(text, " (0x{:08b})", self.flags).unwrap();
        }
        text += "\n";
        if let Some((value, mask)) = self.mark {
            let value = if value == 0 { "0".to_owned() } else { format!("{value:#x}") };
            writeln!(text, "\tmark {value}/{mask:#x} ").unwrap();
        }
        let key = |key: &[u8]| match (key.is_empty(), stats) {
            (true, _) => String::new(),
            (false, true) => format!("{} ({} bits)", hex(key), key.len() * 8),
            (false, false) => hex(key),
        };
        match &self.algorithms {
            Algorithms::Aead(name, k, bits) => writeln!(text, "\taead {name} {} {bits}", key(k)).unwrap(),
            Algorithms::Pair(enc, enc_key, auth, auth_key, bits) => {
                writeln!(text, "\tauth-trunc {auth} {} {bits}\n\tenc {enc} {}", key(auth_key), key(enc_key))
                    .unwrap();
            }
        }
        if let Some((kind, sport, dport)) = self.encap {
            writeln!(text, "\tencap type {kind} sport {sport} dport {dport} addr 0.0.0.0").unwrap();
        }
        if self.has_esn_context() {
            let words = window.div_ceil(32);
            write!(text, "\tanti-replay esn context:\n\t seq-hi {seq_hi:#x}, seq {seq:#x}, ").unwrap();
            write!(
                text,
                "oseq-hi {oseq_hi:#x}, oseq {oseq:#x}\n\t replay_window {window}, bitmap-length {words}"
            )
            .unwrap();
            for word in 0..words {
                text += if word % 8 == 0 { "\n\t 00000000 " } else { "0000000f " };
            }
            text += "\n";
        } else {
            writeln!(text, "\tanti-replay context: seq {seq:#x}, oseq {oseq:#x}, bitmap 0x00000000").unwrap();
        }
        if let Some(if_id) = self.if_id {
            writeln!(text, "\tif_id {if_id:#x}").unwrap();
        }
        if let Some(selector) = self.selector_text() {
            writeln!(text, "\tsel {selector} {}", if stats { "uid 0" } else { "" }).unwrap();
        }
        if stats {
            let hard = self.limit.map_or("(INF)".to_owned(), |limit| limit.to_string());
            write!(text, "\tlifetime config:\n\t  limit: soft (INF)(bytes), hard {hard}(bytes)\n").unwrap();
            text += "\t  limit: soft (INF)(packets), hard (INF)(packets)\n\t  expire add: soft 0(sec), hard 0(sec)\n\
                     \t  expire use: soft 0(sec), hard 0(sec)\n";
        }
        text
    }

    /// As a command, as printed by itself, and as printed by the monitor.
    fn text(&self, form: u8) -> String {
        match form {
            0 => self.command(),
            1 | 2 => self.printed(form == 2),
            3 => format!("[2026-01-31T12:00:00.000007] [nsid 1]Updated {}", self.printed(false)),
            _ => format!("Expired {}\thard 1\n", self.printed(true)),
        }
    }

    fn check(&self, state: &State, all: bool) {
        assert_eq!(
            (state.src, state.dst, state.spi, state.reqid),
            (self.src, self.dst, self.spi, self.reqid)
        );
        assert_eq!(
            (state.mode, state.flags.bits(), state.replay_window),
            (self.mode, self.flags, self.window)
        );
        assert_eq!(state.flags.has(Flags::ESN), self.flags & 0x80 != 0);
        let [seq, oseq, seq_hi, oseq_hi] = self.counters;
        let high = if self.has_esn_context() { (seq_hi, oseq_hi) } else { (0, 0) };
        let sequence = state.sequence;
        assert_eq!((sequence.seq, sequence.oseq), (seq, oseq));
        assert_eq!((sequence.seq_hi, sequence.oseq_hi), high);
        let read = |algorithm: &Option<xfrm::Algorithm>| {
            algorithm.as_ref().map(|a| (a.name.clone(), a.key.as_octets().to_vec(), a.icv_bits))
        };
        match &self.algorithms {
            Algorithms::Aead(name, key, bits) => {
                assert_eq!(read(&state.aead), Some(((*name).to_owned(), key.clone(), Some(*bits))));
                assert!(state.encryption.is_none() && state.integrity.is_none());
            }
            Algorithms::Pair(enc, enc_key, auth, auth_key, bits) => {
                assert_eq!(read(&state.encryption), Some(((*enc).to_owned(), enc_key.clone(), None)));
                assert_eq!(read(&state.integrity), Some(((*auth).to_owned(), auth_key.clone(), Some(*bits))));
                assert!(state.aead.is_none());
            }
        }
        assert_eq!(state.encap.map(|e| (e.kind.as_str(), e.sport, e.dport)), self.encap);
        assert_eq!(state.mark.map(|m| (m.value, m.mask)), self.mark);
        assert_eq!(state.if_id, self.if_id);
        let selector = state.selector.as_ref().map(|s| (s.src.len, s.dst.len));
        assert_eq!(selector, self.selector.map(|(a, b, _, _)| (a, b)));
        assert!(!all || state.limits.hard.bytes == self.limit);
    }
}

fn one(text: &str) -> State {
    let mut states = xfrm::parse("t", text).unwrap_or_else(|error| panic!("{error}\n{text}")).states;
    assert_eq!(states.len(), 1);
    states.remove(0)
}

/// Words and signs of the grammar, so that random text gets far into it.
fn fragments() -> impl Strategy<Value = String> {
    let words = "ip|xfrm|state|policy|add|update|delete|deleteall|flush|src|dst|10.0.0.1|::1/64|proto|esp|spi|0x1|mode|\
        tunnel|enc|auth-trunc|aead|aes|0x00|128|reqid|flag|esn|sel|tcp|sport|limit|byte-soft|encap|espinudp|4500|mark|\
        mask|dir|in|tmpl|level|use|index|netns|exec|-n|-4|sudo|set|-e|;|&&|&|#|'|\"|\\|\\\n|\n|\n\t|\r\n| |$|`|(|)|<|é|\
        \nsrc 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x1 reqid 0 mode tunnel\n\treplay-window 0 |\
        anti-replay|context:|seq|0x0,|oseq|bitmap|replay_window|64,|bitmap-length|2|00000000|lifetime|config:|limit:|\
        soft|(INF)(bytes),|hard|stats:|uid|extra_flag|(0x00000000)|<<Keys hidden>>|\\\t|\
        \nUpdated |\nDeleted |\nExpired |\n\thard 1\n|\nFlushed |\nacquire |\n  sel |\n  policy |\nreport |\nAsync event  (0x10) |\
        \nMapping change ::1:5 -> ::1:6|\n\tdst ::1  reqid 0x3 protocol esp  SPI 0x1|\nTimestamp: Sat Jan 31 12:00:00 2026 7 usec|\
        \n[2026-01-31T12:00:00.000007] |\n[nsid 1]|[nsid current]|\nDefault policies:|\n in:  accept|\nUnknown message:"
        .split('|')
        .collect::<Vec<_>>();
    vec((proptest::sample::select(words), any::<bool>()), 0..60).prop_map(|pieces| {
        pieces.iter().fold(String::new(), |text, (word, blank)| text + if *blank { " " } else { "" } + word)
    })
}

/// Text with some characters taken out, replaced or doubled.
fn mutated(text: &str, changes: &[(prop::sample::Index, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (place, kind, c) in changes {
        if chars.is_empty() {
            break;
        }
        let at = place.index(chars.len());
        match kind % 4 {
            0 => drop(chars.remove(at)),
            1 => chars[at] = *c,
            2 => chars.insert(at, *c),
            _ => chars.truncate(at),
        }
    }
    chars.into_iter().collect()
}

/// An error's place is in the text, or just behind its last line.
fn check_error(text: &str) {
    if let Err(error) = xfrm::parse("t", text) {
        let position = error.position();
        assert!(
            position.line >= 1 && position.line as usize <= text.lines().count().max(1),
            "{error}\n{text:?}"
        );
        let line = text.split('\n').nth(position.line as usize - 1).unwrap_or_default();
        assert!(
            position.column >= 1 && position.column as usize <= line.chars().count() + 1,
            "{error}\n{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_command_is_read_as_it_was_written(model in model()) {
        model.check(&one(&model.command()), true);
    }

    #[test]
    fn printed_text_is_read_as_the_command(model in model()) {
        let added = one(&model.command());
        for stats in [false, true] {
            let printed = one(&model.printed(stats));
            model.check(&printed, stats);
            prop_assert!(printed.same_sa(&added) && added.same_sa(&printed));
            let oneline = model.printed(stats).trim_end().replace('\n', "\\") + "\\\n";
            prop_assert!(one(&oneline).same_sa(&added));
        }
    }

    #[test]
    fn many_in_one_text_are_read_one_by_one(models in vec((model(), 0..3), 0..8)) {
        let text: String = models
            .iter()
            .map(|(model, form)| match form {
                0 => model.command(),
                1 => model.printed(false),
                _ => model.printed(true) + "\n# between\n",
            })
            .collect();
        let database = xfrm::parse("t", &text).unwrap();
        prop_assert_eq!(database.states.len(), models.len());
        for (state, (model, _)) in database.states.iter().zip(&models) {
            model.check(state, false);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check_error(&text);
    }

    #[test]
    fn any_words_are_read_or_refused(text in fragments()) {
        check_error(&text);
    }

    #[test]
    fn broken_text_is_read_or_refused(
        model in model(),
        form in 0..5_u8,
        changes in vec(any::<(prop::sample::Index, u8, char)>(), 1..6),
    ) {
        check_error(&mutated(&model.text(form), &changes));
    }

    /// Whatever is broken, no error shows a part of a key: here all keys are of sevens and nines, which nothing else has.
    #[test]
    fn no_error_shows_a_key(
        form in 0..5_u8,
        model in model(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), proptest::sample::select(vec![' ', '\n', 'x', '(', '\''])), 1..4),
    ) {
        let mut model = model;
        let key = vec![0x79; 16];
        model.algorithms = match model.algorithms {
            Algorithms::Aead(name, _, _) => Algorithms::Aead(name, key, 128),
            Algorithms::Pair(enc, _, auth, _, _) => Algorithms::Pair(enc, key.clone(), auth, key, 128),
        };
        let text = model.text(form);
        if let Err(error) = xfrm::parse("t", &mutated(&text, &changes)) {
            prop_assert!(!error.to_string().contains("7979"), "{}", error);
        }
    }
}
