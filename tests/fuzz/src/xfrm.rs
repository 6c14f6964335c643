//! The `ip xfrm` grammar: what parses is printed, parsed again and printed the same; numbers and addresses are what a second
//! reader makes of them; what a text leaves behind makes a SAD and an SPD, or doesn't, without a panic.

mod second;

use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::xfrm::{self, Algorithm, Database, Keys, Policy, State};
use espwire_ipsec::{Sad, Spd, Unmatched};

/// How many words of a text the second reader looks at.
const WORDS: usize = 6;

/// Runs the target.
///
/// # Panics
///
/// A text is not what it should be.
pub fn run(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    match xfrm::parse("text", &text) {
        Ok(database) => check_database(&database),
        Err(error) => check_error(&text, &error),
    }
    let is_sign = |c: char| c.is_ascii_hexdigit() || "xX.:/+-".contains(c);
    for word in text.split(|c: char| !is_sign(c)).filter(|word| !word.is_empty()).take(WORDS) {
        check_number(word);
        check_address(word);
        check_prefix(word);
    }
}

fn again(text: &str) -> Database {
    xfrm::parse("printed", text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn check_database(database: &Database) {
    let listing = database.listing(Keys::Shown);
    let (short, long) = (listing.to_string(), listing.with_statistics().to_string());
    let read = again(&short);
    assert_eq!(read.listing(Keys::Shown).to_string(), short);
    let read = again(&long);
    assert_eq!(read.listing(Keys::Shown).with_statistics().to_string(), long);
    assert_eq!(read.listing(Keys::Shown).to_string(), short);
    let newest_first = listing.newest_first().to_string();
    assert_eq!(again(&newest_first).listing(Keys::Shown).newest_first().to_string(), short);
    assert_eq!(read.states.len(), database.states.len());
    assert_eq!(read.policies.len(), database.policies.len());
    for (one, other) in database.states.iter().zip(&read.states) {
        check_same_state(one, other);
    }
    for (one, other) in database.policies.iter().zip(&read.policies) {
        check_same_policy(one, other);
    }
    check_hidden(database);
    check_sides(database, &read);
}

fn check_same_state(one: &State, other: &State) {
    assert!(one.same_sa(other) && other.same_sa(one), "{one:?}\n{other:?}");
    let numbers = |s: &State| (s.src, s.dst, s.spi, s.reqid, s.mode, s.proto, s.replay_window, s.flags);
    assert_eq!(numbers(one), numbers(other));
    let more =
        |s: &State| (s.extra_flags, s.encap, s.sequence, s.acquire_seq, s.mark, s.output_mark, s.if_id);
    assert_eq!(more(one), more(other));
    let rest = |s: &State| (s.context.clone(), s.offload.clone(), s.direction, s.cpu, s.limits);
    assert_eq!(rest(one), rest(other));
    // For Linux 0 is none.
    assert_eq!(one.tfcpad.unwrap_or(0), other.tfcpad.unwrap_or(0));
    let algorithms =
        |s: &State| [s.encryption.as_ref().map(key), s.integrity.as_ref().map(key), s.aead.as_ref().map(key)];
    assert_eq!(algorithms(one), algorithms(other));
    // None is printed as one for all.
    if one.selector.is_some() {
        assert_eq!(one.selector, other.selector);
    }
}

fn key(algorithm: &Algorithm) -> (String, Vec<u8>, Option<u32>) {
    (algorithm.kernel_name().to_owned(), algorithm.key.as_octets().to_vec(), algorithm.effective_icv_bits())
}

fn check_same_policy(one: &Policy, other: &Policy) {
    let numbers =
        |p: &Policy| (p.selector.clone(), p.direction, p.socket, p.action, p.priority, p.index, p.ptype);
    assert_eq!(numbers(one), numbers(other));
    let rest =
        |p: &Policy| (p.localok, p.icmp, p.mark, p.if_id, p.context.clone(), p.offload.clone(), p.limits);
    assert_eq!(rest(one), rest(other));
    let templates = |p: &Policy| -> Vec<_> {
        p.templates.iter().map(|t| (t.src, t.dst, t.proto, t.spi, t.reqid, t.mode, t.level)).collect()
    };
    assert_eq!(templates(one), templates(other));
}

/// Hidden keys are all that is missing, and such text is refused.
fn check_hidden(database: &Database) {
    let (shown, hidden) =
        (database.listing(Keys::Shown).to_string(), database.listing(Keys::Hidden).to_string());
    assert_eq!(shown.lines().count(), hidden.lines().count());
    let has_algorithms =
        database.states.iter().any(|s| s.encryption.is_some() || s.integrity.is_some() || s.aead.is_some());
    assert_eq!(shown != hidden, has_algorithms);
    assert_eq!(xfrm::parse("hidden", &hidden).is_err(), has_algorithms, "{hidden}");
}

/// SADs and SPD of both: the same, but for namespaces, which are not printed.
fn check_sides(database: &Database, read: &Database) {
    let now = Duration::from_secs(1);
    // Another one for each SA.
    let secrets = || {
        let mut count = 0_u32;
        move || {
            count += 1;
            let mut secret = [7; 32];
            secret[..4].copy_from_slice(&count.to_be_bytes());
            secret.into()
        }
    };
    assert_eq!(Sad::new([database]).is_ok(), Sad::new([read]).is_ok());
    assert_eq!(Sad::receiving([database], now).is_ok(), Sad::receiving([read], now).is_ok());
    assert_eq!(
        Sad::sending([database], now, secrets()).is_ok(),
        Sad::sending([read], now, secrets()).is_ok()
    );
    let of = |database| {
        let spd = Spd::new([database], Unmatched::Discard).ok()?;
        let key = |policy: &espwire_ipsec::Policy| {
            (policy.selector, policy.direction, policy.action, policy.priority, policy.offload.clone())
        };
        Some(spd.iter().map(|(policy, _)| key(policy)).collect::<Vec<_>>())
    };
    let is_of_one = database.policies.windows(2).all(|pair| pair[0].origin == pair[1].origin);
    let (one, other) = (of(database), of(read));
    assert!(one == other || one.is_none() && !is_of_one, "{database:?}");
}

/// An error's place is in the text, or just behind its last line.
fn check_error(text: &str, error: &xfrm::Error) {
    let position = error.position();
    let line = text.split('\n').nth((position.line as usize).wrapping_sub(1));
    let line = line.unwrap_or_else(|| panic!("there is no such line: {error}"));
    let column = position.column as usize;
    assert!(column >= 1 && column <= line.chars().count() + 1, "there is no such column: {error}");
    assert!(error.to_string().len() < 1000, "{error}");
}

fn one_state(src: &str, reqid: &str) -> Option<State> {
    let text = format!(
        "ip xfrm state add src {src} dst {src} proto esp spi 1 reqid {reqid} mode transport auth sha256 0x01 enc aes 0x02"
    );
    xfrm::parse("word", &text).ok().map(|mut database| database.states.remove(0))
}

fn check_number(word: &str) {
    let found = one_state("10.0.0.1", word).map(|state| state.reqid);
    assert_eq!(found, second::number(word).and_then(|number| number.try_into().ok()), "{word}");
}

fn check_address(word: &str) {
    // `state add` takes a prefix length, and forgets it.
    let found = one_state(word, "1").map(|state| (state.src, state.dst));
    let expected: Option<(IpAddr, u8)> = second::prefix(word);
    assert_eq!(found, expected.map(|(address, _)| (address, address)), "{word}");
}

fn check_prefix(word: &str) {
    let text = format!("ip xfrm policy add src {word} dst {word} dir out");
    let found = xfrm::parse("word", &text).ok().map(|database| {
        let selector = &database.policies[0].selector;
        assert_eq!(selector.src, selector.dst);
        (selector.src.addr, selector.src.len)
    });
    assert_eq!(found, second::prefix(word), "{word}");
}
